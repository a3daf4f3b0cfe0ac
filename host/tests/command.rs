//! What the command says without a router. The end-to-end tests need the command built, which this file
//! has cargo do.
#![forbid(unsafe_code)]

use std::process::{Command, Output};

fn waypost(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(arguments).current_dir(folder.path()).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn its_help_names_every_command_and_the_exit_codes() {
    let help = text(&waypost(&["--help"]).stdout);
    for word in ["run", "pub", "sub", "config", "78 configuration"] {
        assert!(help.contains(word), "{word} is missing: {help}");
    }
}

#[test]
fn defaults_alone_are_a_good_configuration() {
    let check = waypost(&["config", "check"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(check.stdout.is_empty());
}

#[test]
fn a_flag_that_sets_a_wrong_value_is_named() {
    let check = waypost(&["config", "check", "--set", "listen.max_connections=many"]);
    assert_eq!(check.status.code(), Some(78));
    assert!(
        text(&check.stderr).contains("--set listen.max_connections"),
        "{}",
        text(&check.stderr)
    );
}

#[test]
fn wrong_use_has_an_exit_code_of_its_own() {
    assert_eq!(waypost(&["pub"]).status.code(), Some(2));
    assert_eq!(waypost(&["sub", "a", "--timeout", "soon"]).status.code(), Some(2));
}
