//! Who may import whom.

use std::collections::BTreeSet;

use crate::{
    code,
    tree::{File, Manifest, Section},
};

/// Each crate and what it may import of ours, in any section of its manifest. `tests` and `xtask`
/// run the `waypost` binary as a process, which is no import.
const MAY_IMPORT: [(&str, &[&str]); 16] = [
    ("waypost-protocol", &[]),
    ("waypost-protocol-fuzz", &["waypost-protocol"]),
    ("waypost-core", &["waypost-protocol"]),
    ("waypost-storage", &["waypost-core", "waypost-protocol"]),
    ("waypost-client", &["waypost-protocol"]),
    ("waypost-sdk", &["waypost-protocol", "waypost-sdk-macros"]),
    ("waypost-sdk-macros", &[]),
    // The client and what measures with it only in its command line: see `client_in_host`.
    (
        "waypost",
        &[
            "waypost-core",
            "waypost-protocol",
            "waypost-storage",
            "waypost-bench",
            "waypost-client",
            "waypost-toolchain",
        ],
    ),
    ("waypost-bench", &["waypost-client"]),
    ("waypost-counts", &["waypost-core", "waypost-protocol", "waypost-storage"]),
    ("waypost-artefacts", &[]),
    ("waypost-sim", &["waypost-core", "waypost-protocol", "waypost-storage"]),
    ("waypost-faults", &[]),
    ("waypost-tests", &["waypost-client"]),
    ("waypost-toolchain", &[]),
    ("xtask", &["waypost-client", "waypost-tests", "waypost-toolchain"]),
];

/// What a crate may import beyond that, in one section, and why.
const EXCEPTIONS: [(&str, &str, Section, &str); 6] = [
    (
        "waypost-sdk-macros",
        "waypost-sdk",
        Section::Dev,
        "the examples in the documentation of the macros are plugins",
    ),
    ("waypost", "waypost-artefacts", Section::Dev, BY_HAND),
    ("waypost-tests", "waypost-artefacts", Section::Dev, BY_HAND),
    ("waypost-plugin-route-content", "waypost-plugin-filter-json", Section::Dev, ONE_ROUTE),
    ("waypost-plugin-route-content", "waypost-plugin-transform-json", Section::Dev, ONE_ROUTE),
    ("waypost-plugin-route-content", "waypost-plugin-schema-upcast", Section::Dev, ONE_ROUTE),
];
const BY_HAND: &str = "guests by hand are made in one place, and only tests make them";
const ONE_ROUTE: &str = "a test of the last plugin runs real input through a whole route natively";

/// Crates that are plugins, by the beginning of their folder.
const PLUGINS: [&str; 2] = ["plugins/", "tests/guests/"];

/// Holds the manifests against the tables above.
pub(crate) fn manifests(manifests: &[Manifest]) -> Vec<String> {
    let ours: BTreeSet<&str> = manifests.iter().map(|manifest| manifest.name.as_str()).collect();
    let mut breaches = Vec::new();
    for Manifest { path, name, dependencies } in manifests {
        let known = MAY_IMPORT.iter().find(|(each, _)| each == name).map(|(_, may)| *may);
        let plugin = PLUGINS.iter().any(|folder| path.starts_with(folder));
        let Some(may) = known.or(plugin.then_some(&["waypost-sdk"])) else {
            breaches.push(format!("{path}: the table of borders does not know {name}"));
            continue;
        };
        for (dependency, section) in dependencies {
            let excepted = EXCEPTIONS.iter().any(|(of, to, within, reason)| {
                (of, to, within) == (&name.as_str(), &dependency.as_str(), section)
                    && !reason.is_empty()
            });
            let allowed = may.contains(&dependency.as_str()) || excepted;
            if ours.contains(dependency.as_str()) && !allowed {
                breaches.push(format!("{path}: {name} may not import {dependency} ({section:?})"));
            }
        }
    }
    breaches
}

/// The client, and the load tool that is made of it, stay within `host/src/cli/`.
pub(crate) fn client_in_host(sources: &[File]) -> Vec<String> {
    let outside =
        |file: &&File| file.path.starts_with("host/") && !file.path.starts_with("host/src/cli/");
    let names_client = |path: &[String]| {
        path.first().is_some_and(|first| first == "waypost_client" || first == "waypost_bench")
    };
    find(sources.iter().filter(outside), names_client, "the client belongs into host/src/cli/")
}

/// `net` and `wasm` know each other neither by the crate's root nor by way of `super`.
pub(crate) fn net_and_wasm(sources: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (own, other) in [("net", "wasm"), ("wasm", "net")] {
        let (folder, single) = (format!("host/src/{own}/"), format!("host/src/{own}.rs"));
        let within = |file: &&File| file.path.starts_with(&folder) || file.path == single;
        let names_other = |path: &[String]| {
            let rest = match path {
                [root, rest @ ..] if root == "crate" || root == "waypost" => rest,
                [first, ..] if first == "super" => {
                    let up = path.iter().take_while(|segment| *segment == "super").count();
                    &path[up..]
                }
                _ => return false,
            };
            rest.first().is_some_and(|first| first == other)
        };
        let why = format!("{own} never imports {other}");
        breaches.extend(find(sources.iter().filter(within), names_other, &why));
    }
    breaches
}

fn find<'a>(
    files: impl Iterator<Item = &'a File>,
    breaks: impl Fn(&[String]) -> bool,
    why: &str,
) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let paths = code::paths(&code::without_text(&file.text));
        let bad = paths.iter().filter(|path| breaks(path));
        breaches.extend(bad.map(|path| format!("{}: {}: {why}", file.path, path.join("::"))));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{file, manifests as parse};

    fn check_manifest(path: &str, name: &str, dependencies: &str, expected: usize) {
        let ours = |name: &str| {
            file(&format!("{name}/Cargo.toml"), &format!("[package]\nname = '{name}'"))
        };
        let mut files =
            Vec::from(["waypost-protocol", "waypost-core", "waypost-sdk", "waypost"].map(ours));
        files.push(file(path, &format!("[package]\nname = '{name}'\n{dependencies}")));
        let breaches = manifests(&parse(&files));
        assert_eq!(breaches.len(), expected, "{name}, {dependencies}: {breaches:?}");
    }

    #[test]
    fn a_manifest_over_a_border_is_found_in_every_section() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let on = |name: &str| format!("[{section}]\n{name}.workspace = true");
            check_manifest("bench/Cargo.toml", "waypost-bench", &on("waypost"), 1);
            check_manifest("client/Cargo.toml", "waypost-client", &on("waypost-core"), 1);
            check_manifest("client/Cargo.toml", "waypost-client", &on("waypost-protocol"), 0);
            check_manifest("plugins/a/Cargo.toml", "a", &on("waypost-protocol"), 1);
            check_manifest("plugins/a/Cargo.toml", "a", &on("waypost-sdk"), 0);
        }
        check_manifest("new/Cargo.toml", "waypost-new", "", 1);
    }

    #[test]
    fn an_exception_holds_in_its_section_alone() {
        let name = "waypost-sdk-macros";
        check_manifest("m/Cargo.toml", name, "[dev-dependencies]\nwaypost-sdk = '0'", 0);
        check_manifest("m/Cargo.toml", name, "[dependencies]\nwaypost-sdk = '0'", 1);
    }

    #[test]
    fn the_client_outside_the_command_line_is_found() {
        let uses = "use waypost_client::Client;";
        assert_eq!(client_in_host(&[file("host/src/net/a.rs", uses)]).len(), 1);
        assert_eq!(client_in_host(&[file("host/tests/a.rs", uses)]).len(), 1);
        let bench = "fn a() { waypost_bench::run() }";
        assert_eq!(client_in_host(&[file("host/src/server.rs", bench)]).len(), 1);
        assert!(client_in_host(&[file("host/src/cli/a.rs", uses)]).is_empty());
        assert!(client_in_host(&[file("bench/src/a.rs", uses)]).is_empty());
    }

    #[test]
    fn net_and_wasm_are_found_however_they_are_named() {
        for bad in [
            "use crate::wasm::Engine;",
            "use crate::{router::Router, wasm::Engine};",
            "use super::super::{wasm};",
            "fn a() { crate::wasm::load() }",
            "use waypost::wasm;",
        ] {
            assert_eq!(net_and_wasm(&[file("host/src/net/a.rs", bad)]).len(), 1, "{bad}");
        }
        assert_eq!(net_and_wasm(&[file("host/src/wasm/a.rs", "use crate::net;")]).len(), 1);
        for good in ["use std::net::IpAddr;", "use super::wasmtime;", "// crate::wasm"] {
            assert!(net_and_wasm(&[file("host/src/net/a.rs", good)]).is_empty(), "{good}");
        }
        assert!(net_and_wasm(&[file("host/src/server.rs", "use crate::wasm;")]).is_empty());
    }
}
