//! What the pure crates never do, and what nobody does.

use crate::{
    code,
    tree::{File, Manifest, Section},
};

/// The crates that decide and do nothing, by the folder of their sources.
const PURE: [(&str, &str); 2] =
    [("waypost-protocol", "protocol/src/"), ("waypost-core", "core/src/")];

/// Modules of the standard library that reach outside the process or spawn.
const STD: [&str; 6] = ["env", "fs", "io", "net", "process", "thread"];
/// Crates that do IO, spawn, read a clock or draw random numbers.
const CRATES: [&str; 14] = [
    "async-std",
    "chrono",
    "fastrand",
    "futures-util",
    "getrandom",
    "jiff",
    "libc",
    "mio",
    "quinn",
    "rand",
    "rustix",
    "socket2",
    "time",
    "tokio",
];
/// Clocks, by the names of their types.
const CLOCKS: [&str; 2] = ["Instant", "SystemTime"];

/// Names that only unbounded channels have.
const UNBOUNDED: [&str; 5] =
    ["unbounded", "unbounded_channel", "unbounded_send", "UnboundedReceiver", "UnboundedSender"];

/// The sources of pure crates name no IO, task, clock or randomness, except in their tests.
pub(crate) fn sources(sources: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in sources {
        let pure = PURE.iter().any(|(_, folder)| file.path.starts_with(folder));
        let test = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
        if !pure || test {
            continue;
        }
        let code = code::without_tests(&code::without_text(&file.text));
        let bad = code::paths(&code).into_iter().filter(|path| is_impure(path));
        breaches.extend(bad.map(|path| format!("{}: {} is not pure", file.path, path.join("::"))));
    }
    breaches
}

fn is_impure(path: &[String]) -> bool {
    let module = match path {
        [root, module, ..] if root == "std" || root == "core" => STD.contains(&module.as_str()),
        [root, _, ..] => CRATES.iter().any(|name| name.replace('-', "_") == *root),
        _ => false,
    };
    module || path.iter().any(|segment| CLOCKS.contains(&segment.as_str()))
}

/// Pure crates depend on none of the crates above; their tests and build scripts may.
pub(crate) fn manifests(manifests: &[Manifest]) -> Vec<String> {
    let mut breaches = Vec::new();
    for Manifest { path, name, dependencies } in manifests {
        if !PURE.iter().any(|(pure, _)| pure == name) {
            continue;
        }
        let bad = dependencies.iter().filter(|(dependency, section)| {
            *section == Section::Normal && CRATES.contains(&dependency.as_str())
        });
        breaches.extend(bad.map(|(bad, _)| format!("{path}: {bad} is not pure")));
    }
    breaches
}

/// Nobody makes an unbounded channel. The standard library's `channel` is one.
pub(crate) fn channels(sources: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in sources {
        let paths = code::paths(&code::without_text(&file.text));
        let std_module = ["std", "sync", "mpsc"].map(str::to_owned);
        let bad = paths.iter().filter(|path| {
            let names_std = match path.strip_prefix(std_module.as_slice()) {
                // `mpsc::channel` behind a plain import of the module could not be told from tokio's.
                Some([]) => true,
                Some([name, ..]) => name == "channel" || name == "Sender",
                None => false,
            };
            names_std || path.iter().any(|segment| UNBOUNDED.contains(&segment.as_str()))
        });
        breaches.extend(bad.map(|path| {
            format!("{}: {} has no bound; use a bounded channel", file.path, path.join("::"))
        }));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{file, manifests as parse};

    #[test]
    fn impure_code_is_found_outside_of_tests() {
        for bad in [
            "use std::fs;",
            "use std::{fmt, net::IpAddr};",
            "fn a() { std::thread::spawn(b) }",
            "use std::time::{Duration, Instant};",
            "use std::time; fn a() { time::SystemTime::now() }",
            "async fn a() { tokio::task::yield_now().await }",
            "use rand::Rng;",
        ] {
            assert_eq!(sources(&[file("core/src/a.rs", bad)]).len(), 1, "{bad}");
            assert_eq!(sources(&[file("protocol/src/a/mod.rs", bad)]).len(), 1, "{bad}");
            assert!(sources(&[file("host/src/a.rs", bad)]).is_empty(), "{bad}");
            assert!(sources(&[file("core/src/a/tests.rs", bad)]).is_empty(), "{bad}");
            let test = format!("#[cfg(test)]\nmod tests {{ {bad} }}");
            assert!(sources(&[file("core/src/a.rs", &test)]).is_empty(), "{bad}");
        }
        for good in ["use std::time::Duration;", "/// Like `std::fs`.\nfn a() {}", "let rand = 1;"]
        {
            assert!(sources(&[file("core/src/a.rs", good)]).is_empty(), "{good}");
        }
    }

    #[test]
    fn an_impure_dependency_is_found() {
        let check = |section: &str, expected: usize| {
            let text = format!("[package]\nname = 'waypost-core'\n[{section}]\nrand = '0'");
            assert_eq!(manifests(&parse(&[file("core/Cargo.toml", &text)])).len(), expected);
        };
        check("dependencies", 1);
        check("dev-dependencies", 0);
    }

    #[test]
    fn an_unbounded_channel_is_found() {
        for bad in [
            "let (a, b) = mpsc::unbounded_channel();",
            "use futures::channel::mpsc::{UnboundedSender};",
            "crossbeam_channel::unbounded()",
            "use std::sync::mpsc;",
            "use std::sync::{Arc, mpsc::channel};",
        ] {
            assert_eq!(channels(&[file("host/src/a.rs", bad)]).len(), 1, "{bad}");
        }
        for good in
            ["use std::sync::mpsc::{SyncSender, sync_channel};", "tokio::sync::mpsc::channel(8)"]
        {
            assert!(channels(&[file("host/src/a.rs", good)]).is_empty(), "{good}");
        }
    }
}
