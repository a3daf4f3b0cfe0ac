//! What commands draw on a terminal while they work for long, and that they draw nothing anywhere else.
//!
//! The terminal is that of `script`, which is part of util-linux: nothing that the workspace is built of opens one.
#![forbid(unsafe_code)]

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use waypost_tests::{Router, built, built_guest, connected, text};

/// Takes so long for its messages that whoever publishes has to wait.
const CONFIG: &str = r#"
[[route]]
name = "slow"
from = "slow.in"
to = "slow.out"
batch = { max_messages = 16 }

[[route.stage]]
plugin = "slow"
config = { rounds = 3000000 }
"#;
/// More than all queues hold.
const LINES: usize = 200_000;

/// The same command on a terminal of its own, which this one's standard output is.
fn on_a_terminal(router: &Router, arguments: &[&str]) -> Command {
    let line =
        [built("debug/waypost").to_str().expect("a plain path"), &arguments.join(" ")].join(" ");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
    command.env("SHELL", "/bin/sh").env("TERM", "xterm").env("WAYPOST_STATE", router.state());
    command.env_remove("WAYPOST_ADDRESS").env_remove("WAYPOST_CA").env_remove("RUST_LOG");
    command
}

#[tokio::test]
async fn publishing_shows_on_a_terminal_how_far_it_is_and_nothing_in_a_pipe() {
    let plugins = [("slow", built_guest("slow"))];
    let router = Router::start(CONFIG, &plugins).await.expect("the router starts");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lines");
    std::fs::write(&file, format!("{}\n", "x".repeat(500)).repeat(LINES)).expect("it is written");
    let arguments = ["pub", "slow.in", "--file", file.to_str().expect("a plain path")];

    // It begins before the other, so that it has worked for as long by the time that the other shows it.
    let mut piped = connected(&router, &arguments);
    piped.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut piped = piped.spawn().expect("the command starts");
    let mut terminal = on_a_terminal(&router, &arguments);
    terminal.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut terminal = terminal.spawn().expect("script of util-linux is installed");
    let mut screen = terminal.stdout.take().expect("it was piped");
    let drawn = tokio::task::spawn_blocking(move || {
        let (mut drawn, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            match screen.read(&mut chunk).expect("it is read") {
                0 => break drawn,
                read => drawn.extend(&chunk[..read]),
            }
            // Whatever is drawn twice was drawn again in its place, if at all.
            if text(&drawn).matches(" to go").count() > 1 {
                break drawn;
            }
        }
    });
    let drawn = text(&drawn.await.expect("it is read"));
    assert!(drawn.contains(" lines, ") && drawn.contains("/s, "), "{drawn:?}");
    assert!(drawn.contains('\r') || drawn.contains('\x1b'), "it is drawn again: {drawn:?}");
    assert!(piped.try_wait().expect("it is there").is_none(), "it has as much to do");
    for each in [&mut terminal, &mut piped] {
        each.kill().expect("it runs");
    }
    terminal.wait().expect("it has ended");
    let piped = piped.wait_with_output().expect("it has ended");
    assert_eq!((text(&piped.stdout), text(&piped.stderr)), (String::new(), String::new()));
}
