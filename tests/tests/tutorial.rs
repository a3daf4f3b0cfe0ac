//! The tutorial, pasted block by block as it stands into one bash in an empty folder. What it prints must be
//! what the page says.
#![forbid(unsafe_code)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use waypost_tests::{built, text};

/// Where the pastes begin; what stands before it makes the command, which is built already.
const BEGIN: &str = "<!--";
/// What the page shows in place of what differs from run to run.
const DIFFERS: &str = "…";

/// What is pasted at once, and what the page says that it prints.
#[derive(Debug, PartialEq, Eq)]
struct Paste {
    script: String,
    printed: Vec<String>,
}

/// The fenced blocks in `sh`, each with the other blocks up to the next.
fn pastes(page: &str) -> Vec<Paste> {
    let mut pastes: Vec<Paste> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match pastes.last_mut() {
            _ if language == "sh" => {
                pastes.push(Paste { script: block.join("\n"), printed: Vec::new() });
            }
            Some(paste) => paste.printed.extend(block.into_iter().map(str::to_owned)),
            None => panic!("nothing was pasted before {block:?}"),
        }
    }
    pastes
}

/// Whether a line is what the page shows.
fn is_shown(line: &str, shown: &str) -> bool {
    let mut parts = shown.split(DIFFERS);
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut is_open = false;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        (rest, is_open) = (&rest[at + part.len()..], part.is_empty());
    }
    rest.is_empty() || is_open
}

/// What the page shows and was not printed, where lines come in the page's order with others between them.
fn missing<'a>(printed: &str, shown: &'a [String]) -> Option<&'a str> {
    let mut lines = printed.lines();
    shown.iter().map(String::as_str).find(|shown| !lines.any(|line| is_shown(line, shown)))
}

/// Bash that pastes one after the other, each with its output in a file of its own.
fn script(pastes: &[Paste], outputs: &Path, lock: &Path) -> String {
    // Whoever pastes sees a failure and stops. What runs behind the scenes then ends as well.
    let mut script = "set -e\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n".to_owned();
    for (number, paste) in pastes.iter().enumerate() {
        let (output, lock) = (outputs.join(number.to_string()), lock.display());
        // A string takes any text. A crate that was made gets the versions that are there without a network.
        let _ = writeln!(script, "exec > '{}' 2>&1\n{}", output.display(), paste.script);
        let _ = writeln!(script, "[ ! -d warm ] || [ -e warm/Cargo.lock ] || cp '{lock}' warm/");
    }
    script
}

#[test]
fn what_the_tutorial_says_happens_as_it_is_pasted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/tutorial.md")).expect("the page is there");
    let (_, page) = page.split_once(BEGIN).expect("the page says where the pastes begin");
    let pastes = pastes(page);
    assert!(pastes.len() > 10, "the page has lost its pastes");

    let folders = tempfile::tempdir().expect("a folder");
    let (empty, outputs) = (folders.path().join("empty"), folders.path().join("outputs"));
    fs::create_dir(&empty).expect("the folder takes a folder");
    fs::create_dir(&outputs).expect("the folder takes a folder");
    let file = folders.path().join("pastes");
    fs::write(&file, script(&pastes, &outputs, &root.join("Cargo.lock"))).expect("a file");

    let waypost = built("debug/waypost");
    let target = waypost.ancestors().nth(2).expect("it lies in the target folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(target.join("debug")).chain(std::env::split_paths(&path));
    // A group of its own, all of which is ended when somebody waits in vain.
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=10", "600", "bash"])
        .arg(&file)
        .current_dir(&empty)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    bash.env("PATH", std::env::join_paths(path).expect("paths without a colon"));
    // Other routers may run on this machine.
    bash.env("WAYPOST__LISTEN__ADDRESS", "127.0.0.1:0");
    bash.env("WAYPOST__ADMIN__ADDRESS", "127.0.0.1:0");
    bash.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", target.join("plugin-author"));
    for other in ["RUST_LOG", "WAYPOST_ADDRESS", "WAYPOST_CA", "WAYPOST_STATE", "WAYPOST_CONFIG"] {
        bash.env_remove(other);
    }
    let ended = bash.output().expect("bash starts");

    for (number, Paste { script, printed: shown }) in pastes.iter().enumerate() {
        let output: PathBuf = outputs.join(number.to_string());
        let printed = fs::read_to_string(&output).expect("every paste before it went well");
        let log = || fs::read_to_string(empty.join("router.log")).unwrap_or_default();
        assert!(
            ended.status.success() || outputs.join((number + 1).to_string()).exists(),
            "{script}\nfailed:\n{printed}\n{}\nthe router says:\n{}",
            text(&ended.stderr),
            log()
        );
        let missing = missing(&printed, shown);
        assert_eq!(missing, None, "{script}\nprinted\n{printed}\nthe router says:\n{}", log());
    }
}

#[test]
fn a_page_is_its_pastes_with_what_they_print() {
    let page = "text\n```sh\na\nb\n```\n```text\nc\n```\nand\n```rust\nd\n```\n```sh\ne\n```\n";
    let paste = |script: &str, printed: &[&str]| Paste {
        script: script.to_owned(),
        printed: printed.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(pastes(page), [paste("a\nb", &["c", "d"]), paste("e", &[])]);
}

#[test]
fn what_differs_is_left_out_and_all_else_must_be_printed_in_order() {
    for (line, shown, expected) in [
        ("a b", "a b", true),
        ("a b c", "a b", false),
        ("a b c", "a b…", true),
        ("a b c", "…c", true),
        ("a b c", "a…c", true),
        ("a b c", "a…b", false),
        ("a b c", "b…", false),
        ("", "…", true),
    ] {
        assert_eq!(is_shown(line, shown), expected, "{line} as {shown}");
    }
    let shown = ["a", "b"].map(str::to_owned);
    assert_eq!(missing("x\na\ny\nb\nz", &shown), None);
    assert_eq!(missing("b\na", &shown), Some("b"));
}
