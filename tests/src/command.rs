//! The command as a process: its arguments, its input, what it prints.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use crate::{Router, built};

/// The built command with these arguments.
///
/// # Panics
///
/// It is not built.
#[must_use]
pub fn waypost(arguments: &[&str]) -> Command {
    let mut command = Command::new(built("debug/waypost"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("RUST_LOG");
    // Those of whoever runs the tests are of another router.
    command.env_remove("WAYPOST_ADDRESS").env_remove("WAYPOST_CA");
    command
}

/// The built command, which finds a router.
///
/// # Panics
///
/// It is not built.
#[must_use]
pub fn connected(router: &Router, arguments: &[&str]) -> Command {
    let mut command = waypost(arguments);
    command.env("WAYPOST_STATE", router.state());
    command
}

/// Runs a command away from the test's own task, with this on standard input.
///
/// # Panics
///
/// It does not run.
pub async fn finish(mut command: Command, input: &'static str) -> Output {
    let run = move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut stdin = child.stdin.take().expect("it was piped");
        // A command that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("the command ends")
    };
    tokio::task::spawn_blocking(run).await.expect("it does not panic")
}

/// What a command printed.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
