//! Guests of every harmful manner at once on one router, beside ordinary traffic.
#![forbid(unsafe_code)]

mod all_at_once;
mod artefacts;
mod figures;
mod one_by_one;
mod traffic;

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, time::Duration};

use artefacts::{Refused, late, refused};
use traffic::{Ordinary, p99};
use waypost_client::{Client, Delivered, Message, PublisherOptions, Subscriber, SubscriberOptions};
use waypost_tests::{Router, built_guest};

/// Messages of each offender, and which of them are bad.
const MESSAGES: usize = 20;
const BAD: [usize; 2] = [3, 14];
/// Messages that each leak 64 KiB of the 16 MiB that an instance may have.
const LEAKS: usize = 600;
/// Messages of the guest that works on none of them. Each try of its open breaker may cost one.
const SULKED: usize = 100;
/// How often the offenders that go on do it all again.
const ROUNDS: usize = 3;
/// What the first round takes at most.
const MOST_MEMORY_BYTES: u64 = 512 << 20;
/// What the rounds after it may add: some room for the allocator.
const GROWTH_BYTES: u64 = 48 << 20;
/// Failures in a row of a guest that fails on everything, after which its messages wait, as it is without a
/// word; and so many that they never do.
const USUAL: usize = 5;
const NEVER: usize = 1000;
/// What the fixed version of an offender appends to each payload.
const FIXED: u32 = 7;

/// Held by tests that take all processors or are held to times by the router: beside each other, a compiler that is to
/// meet its limit of CPU time meets the wall clock's first.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What harm a mode of the guest does, the code of its dead letters, and what their error says.
const FATAL: [(&str, &str, &str); 5] = [
    ("panic", "PLUGIN_TRAP", "I do not like \"bad 3\""),
    // On a busy machine the clock on the wall may be the first to run out.
    ("loop", "PLUGIN_TIMEOUT", "its deadline"),
    ("memory", "PLUGIN_MEMORY", "its limit is 16777216"),
    ("recursion", "PLUGIN_TRAP", "call stack exhausted"),
    ("output", "PLUGIN_OUTPUT", "output_bytes"),
];
/// Guests written by hand that fail on every message: code, what their dead letters say, what they do.
const BROKEN: [(&str, &str, &str, &str); 5] = [
    ("count", "PLUGIN_CONTRACT", "3 verdicts", "(call $answer (i32.const 3))"),
    (
        "offset",
        "PLUGIN_CONTRACT",
        "out of bounds",
        "(local.set $at (call $answer (local.get $count)))
         (i32.store (local.get $at) (i32.const -16)) (local.get $at)",
    ),
    (
        "promise",
        "PLUGIN_CONTRACT",
        "emitted",
        "(local.set $at (call $answer (local.get $count)))
         (i32.store8 (i32.load (local.get $at)) (i32.const 2))
         (i32.store offset=8 (i32.load (local.get $at)) (i32.const 2))
         (local.get $at)",
    ),
    (
        "verdict",
        "PLUGIN_CONTRACT",
        "discriminant",
        "(local.set $at (call $answer (local.get $count)))
         (i32.store8 (i32.load (local.get $at)) (i32.const 99)) (local.get $at)",
    ),
    (
        "table",
        "PLUGIN_MEMORY",
        "wanted 1000001 table elements, its limit is 20000",
        "(drop (table.grow $table (ref.null func) (i32.const 1000000))) (unreachable)",
    ),
];

/// Every offender's route. The breakers of those that fail on everything open after so many failures in a row.
fn config(failures: usize) -> String {
    let mut config = String::from(
        r#"
[router]
drain_deadline_ms = 1000

[plugins.compile]
seconds = 10

[plugins.override.hostile]
deadline_ms = 100
memory_bytes = 16777216
output_bytes = 1048576

[[route]]
name = "quick"
from = "quick.in"
to = "quick.out"

[[route.stage]]
plugin = "byte-filter"
"#,
    );
    let modes = FATAL.iter().map(|(mode, ..)| (*mode, "hostile", 1024, USUAL));
    let modes = modes.chain([("logs", "hostile", 1024, USUAL), ("leak", "hostile", 16, USUAL)]);
    let modes = modes.chain([("sulk", "hostile", 1024, USUAL)]);
    let broken = BROKEN.iter().map(|(name, ..)| (*name, *name, 1024, failures));
    for (name, plugin, most, failures) in modes.chain(broken) {
        let mode = if plugin == "hostile" { format!("mode = \"{name}\"") } else { String::new() };
        write!(
            config,
            "[[route]]\nname = \"{name}\"\nfrom = \"{name}.in\"\nto = \"{name}.out\"\n\
             batch = {{ max_messages = {most} }}\nbreaker = {{ failures = {failures} }}\n\
             [[route.stage]]\nname = \"harm\"\nplugin = \"{plugin}\"\nconfig = {{ {mode} }}\n\n"
        )
        .expect("text grows");
    }
    config
}

/// A router with every offender; the folder holds those that were written by hand.
async fn router(failures: usize) -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plugins: Vec<(&str, PathBuf)> =
        vec![("hostile", built_guest("hostile")), ("byte-filter", built_guest("byte-filter"))];
    for (name, _, _, process) in BROKEN {
        let file = folder.path().join(name);
        let table = if name == "table" { "(table $table 1 funcref)" } else { "" };
        std::fs::write(&file, late(process, table)).expect("the folder takes a file");
        plugins.push((name, file));
    }
    (Router::start(&config(failures), &plugins).await.expect("the router starts"), folder)
}

async fn subscribe(client: &Client, pattern: &str) -> Subscriber {
    client.subscribe(pattern, SubscriberOptions::default()).await.expect("a pattern")
}

/// Publishes without waiting for the results: those of a message that waits come late or never.
async fn publish(client: Client, route: String, payloads: Vec<String>) {
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    for payload in payloads {
        let message = Message::new(format!("{route}.in"), payload.into_bytes());
        drop(publisher.publish(message.key(b"one".to_vec())).await.expect("it is taken"));
    }
    publisher.flush().await;
}

fn payloads(messages: usize, is_bad: impl Fn(usize) -> bool) -> Vec<String> {
    let payload = |index| format!("{} {index}", if is_bad(index) { "bad" } else { "good" });
    (0..messages).map(payload).collect()
}

fn text(delivered: &Delivered) -> String {
    String::from_utf8_lossy(delivered.payload()).into_owned()
}

fn header(delivered: &Delivered, name: &str) -> String {
    let headers = delivered.headers();
    let found = headers.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// The payloads of the next messages.
async fn take(subscription: &mut Subscriber, messages: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < messages {
        let delivered = subscription.recv().await.expect("it goes on").expect("without an error");
        taken.push(text(&delivered));
    }
    taken
}

/// A series with these labels in the router's metrics; 0 when there is none.
async fn series(router: &Router, start: &str) -> f64 {
    let metrics = router.admin("/metrics").await.expect("the admin server answers");
    let values = metrics.lines().filter_map(|line| line.strip_prefix(start)?.rsplit_once(' '));
    values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}
