//! The way of a plugin's author: `waypost plugin new`, plain `cargo test`, `waypost plugin build`, and
//! `waypost plugin test` against what should come out.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use waypost_tests::{built, built_guest, text};

/// What a filter's artefact must stay below, with the names of its functions.
const MAX_FILTER_BYTES: u64 = 150 << 10;

const ROLES: [(&str, &str); 3] = [
    ("filter", r#"{ "minimum": 1.5 }"#),
    ("transform", r#"{ "factor": 2.0, "unit": "mm" }"#),
    ("router", r#"{ "prefix": "sensors" }"#),
];

/// A command that sees neither the network nor any target folder but one of its own, which all crates
/// share.
fn offline(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let waypost = built("debug/waypost");
    let target = waypost.ancestors().nth(2).expect("it lies in the target folder");
    let mut command = Command::new(program);
    command.args(arguments).env("NO_COLOR", "1").env_remove("RUST_LOG").stdin(Stdio::null());
    command.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", target.join("plugin-author"));
    command
}

fn waypost(arguments: &[&str]) -> Command {
    offline(built("debug/waypost"), arguments)
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the command starts")
}

/// The standard output of a command that must succeed.
fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A new crate of this role, with the versions that the workspace has.
fn new_crate(folder: &Path, role: &str) -> PathBuf {
    let name = format!("author-{role}");
    let new = ["plugin", "new", &name, "--role", role, "--output", "json"];
    let made: Value =
        serde_json::from_str(&succeed(waypost(&new).current_dir(folder))).expect("one JSON object");
    assert_eq!((&made["plugin"], &made["role"]), (&json!(name), &json!(role)));
    let files = made["files"].as_array().expect("a list");
    for file in files.iter().map(|file| file.as_str().expect("a path")) {
        assert!(
            folder.join(made["folder"].as_str().expect("a path")).join(file).is_file(),
            "{file}"
        );
    }
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, folder.join(&name).join("Cargo.lock")).expect("the folder takes a file");
    folder.join(name)
}

#[test]
fn a_new_plugin_of_every_role_passes_its_tests_and_gives_the_verdicts_that_its_readme_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = folder.path().join("plugins");
    for (role, config) in ROLES {
        let author = new_crate(folder.path(), role);
        let tests = succeed(offline("cargo", &["test"]).current_dir(&author));
        assert!(tests.contains("3 passed"), "{tests}");

        let out = plugins.to_str().expect("a plain path");
        let built = run(waypost(&["plugin", "build", "--out", out]).current_dir(&author));
        let (artefact, said) = (text(&built.stdout), text(&built.stderr));
        assert!(!said.contains(['\r', '\x1b']), "it is drawn without a terminal: {said:?}");
        assert!(built.status.success() && !said.contains("no names"), "{said}");
        let artefact = artefact.trim_end();
        assert_eq!(Path::new(artefact), plugins.join(format!("author-{role}.wasm")));
        let bytes = fs::metadata(artefact).expect("it is there").len();
        let again = ["plugin", "build", "--out", out, "--output", "json"];
        let again: Value = serde_json::from_str(&succeed(waypost(&again).current_dir(&author)))
            .expect("one JSON object");
        let expected = json!([format!("author-{role}"), role, artefact, bytes, true]);
        let told = ["plugin", "role", "artefact", "bytes", "function_names"].map(|key| &again[key]);
        assert_eq!(json!(told), expected);
        assert!(role != "filter" || bytes < MAX_FILTER_BYTES, "{bytes} bytes");

        let arguments = ["plugin", "test", artefact, "--input", "sample.ndjson"];
        let tested = |more: &[&str]| {
            let mut command = waypost(&arguments);
            run(command.args(["--config", config]).args(more).current_dir(&author))
        };
        for output in ["json", "pretty"] {
            let good = tested(&["--expect", "expected.ndjson", "--output", output]);
            assert!(good.status.success(), "{role}: {}{}", text(&good.stdout), text(&good.stderr));
        }
        let readme = fs::read_to_string(author.join("README.md")).expect("it is there");
        assert!(readme.contains(config), "the README's command is the one that was run");

        let expected = fs::read_to_string(author.join("expected.ndjson")).expect("it is there");
        let wrong = expected.replacen("\"line\":1", "\"line\":7", 1);
        fs::write(author.join("wrong.ndjson"), wrong).expect("the folder takes a file");
        let bad = tested(&["--expect", "wrong.ndjson", "--output", "pretty"]);
        assert_eq!(bad.status.code(), Some(1), "{}", text(&bad.stderr));
        assert!(text(&bad.stderr).contains("@@ 1 @@\n-{\"line\":7"), "{}", text(&bad.stderr));
        let refused = run(waypost(&arguments).current_dir(&author));
        assert_eq!(refused.status.code(), Some(1), "a plugin that wants a configuration has none");
        assert!(text(&refused.stderr).contains("missing field"), "{}", text(&refused.stderr));
    }
}

#[test]
fn a_message_that_the_plugin_fails_on_is_told_alone_with_its_panic_and_backtrace() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("input");
    fs::write(&input, "good\ngood\nbad apple\ngood\n").expect("the folder takes a file");
    let mut command =
        waypost(&["plugin", "test", "--config", r#"{ "mode": "panic" }"#, "--output", "json"]);
    let output = run(command.arg(built_guest("hostile")).arg("--input").arg(&input));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("failed on 1 of 4 messages"), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    let verdicts: Vec<_> = lines.iter().filter_map(|line| line["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["forward", "forward", "fail", "forward"]);
    assert_eq!((&lines[2]["line"], &lines[2]["code"]), (&json!(3), &json!("PLUGIN_TRAP")));
    let error = lines[2]["error"].as_str().expect("it says why");
    assert!(error.contains("I do not like \"bad apple\"") && error.contains("harm"), "{error}");
    let summary = &lines[4]["summary"];
    assert_eq!((&summary["messages"], &summary["failed"]), (&json!(4), &json!(1)));
}

#[test]
fn what_cannot_be_made_or_built_is_refused_with_what_mends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    fs::write(path.join("something"), "").expect("the folder takes a file");
    for (arguments, code, told) in [
        (&["new", "Felt", "--role", "filter"][..], 2, "a-z 0-9 -"),
        (&["new", "felt"], 2, "--role <filter|transform|router>"),
        (&["new", "felt", "--role", "filter", "--path", "."], 1, "--path"),
        (&["new", "felt", "--role", "filter", "--sdk", "."], 1, "plugin-sdk"),
        (&["build"], 1, "waypost plugin new"),
        (&["build", "--out", "something"], 1, "something is no folder"),
        (&["test", "felt.wasm"], 2, "--input"),
        (&["test", "felt.wasm", "--input", "-"], 1, "waypost plugin build"),
        (&["test", "felt.wasm", "--input", "-", "--config", "{"], 2, "@"),
        (&["test", "felt.wasm", "--input", "-", "--expect", "e"], 1, "--output json"),
    ] {
        let output = run(waypost(&[&["plugin"], arguments].concat()).current_dir(path));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
    let left = fs::read_dir(path).expect("a folder").count();
    assert_eq!(left, 1, "what was refused has made nothing");
}
