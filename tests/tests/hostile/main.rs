//! Guests of every harmful manner at once on one router, beside ordinary traffic.
#![forbid(unsafe_code)]

mod artefacts;
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
const MOST_MEMORY_BYTES: u64 = 512 << 20;

/// What harm a mode of the guest does, the code of its dead letters, and what their error says.
const FATAL: [(&str, &str, &str); 5] = [
    ("panic", "PLUGIN_TRAP", "I do not like \"bad 3\""),
    ("loop", "PLUGIN_TIMEOUT", "its deadline is 100 ms"),
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

fn config() -> String {
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
    let modes = FATAL.iter().map(|(mode, ..)| (*mode, "hostile", 1024));
    let modes = modes.chain([("logs", "hostile", 1024), ("leak", "hostile", 16)]);
    let modes = modes.chain([("sulk", "hostile", 1024)]);
    for (name, plugin, most) in modes.chain(BROKEN.iter().map(|(name, ..)| (*name, *name, 1024))) {
        let mode = if plugin == "hostile" { format!("mode = \"{name}\"") } else { String::new() };
        write!(
            config,
            "[[route]]\nname = \"{name}\"\nfrom = \"{name}.in\"\nto = \"{name}.out\"\n\
             batch = {{ max_messages = {most} }}\n\
             [[route.stage]]\nname = \"harm\"\nplugin = \"{plugin}\"\nconfig = {{ {mode} }}\n\n"
        )
        .expect("text grows");
    }
    config
}

/// A router with every offender; the folder holds those that were written by hand.
async fn router() -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plugins: Vec<(&str, PathBuf)> =
        vec![("hostile", built_guest("hostile")), ("byte-filter", built_guest("byte-filter"))];
    for (name, _, _, process) in BROKEN {
        let file = folder.path().join(name);
        let table = if name == "table" { "(table $table 1 funcref)" } else { "" };
        std::fs::write(&file, late(process, table)).expect("the folder takes a file");
        plugins.push((name, file));
    }
    (Router::start(&config(), &plugins).await.expect("the router starts"), folder)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_guests_do_the_router_stands_and_ordinary_traffic_goes_on() {
    let (mut router, _folder) = router().await;
    let client = router.client().await.expect("a connection");
    let mut dead = subscribe(&client, "$dead.>").await;
    let mut outputs = BTreeMap::new();
    let modes = FATAL.iter().map(|(mode, ..)| *mode).chain(["logs", "leak"]);
    for mode in modes {
        outputs.insert(mode, subscribe(&client, &format!("{mode}.out")).await);
    }
    let ordinary = Ordinary::start(&router).await;
    let is_bad = |index| BAD.contains(&index);
    for (mode, ..) in FATAL {
        tokio::spawn(publish(client.clone(), mode.to_owned(), payloads(MESSAGES, is_bad)));
    }
    for (name, ..) in BROKEN {
        tokio::spawn(publish(client.clone(), name.to_owned(), payloads(2, |_| true)));
    }
    tokio::spawn(publish(client.clone(), "logs".into(), payloads(MESSAGES, is_bad)));
    tokio::spawn(publish(client.clone(), "leak".into(), payloads(LEAKS, |_| true)));
    tokio::spawn(publish(client.clone(), "sulk".into(), payloads(MESSAGES, |_| true)));

    // Meanwhile artefacts come for the ordinary route that none may accept.
    let good = router.artefact("byte-filter").expect("it was put there");
    let picky = std::fs::read(built_guest("slow")).expect("it is built");
    let digest = router.digest_of("byte-filter").await.expect("it runs");
    let count = "waypost_plugin_refusals_total{kind=\"";
    for Refused { artefact, kinds, .. } in refused(&good, picky) {
        let total = || series(&router, count);
        let before = total().await;
        router.put("byte-filter", &artefact).expect("it is written");
        while total().await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut counted = 0.0;
        for kind in kinds {
            counted += series(&router, &format!("{count}{kind}\",plugin=\"byte-filter\"}}")).await;
        }
        assert!(counted >= 1.0, "{kinds:?}:\n{}", router.log());
    }
    assert_eq!(router.digest_of("byte-filter").await.expect("it runs"), digest);

    // Every good message of the offenders is delivered in order, whatever stood beside it.
    for (mode, ..) in FATAL {
        let expected = payloads(MESSAGES, is_bad);
        let expected: Vec<_> =
            expected.into_iter().filter(|text| !text.starts_with("bad")).collect();
        let output = outputs.get_mut(mode).expect("it is there");
        assert_eq!(take(output, expected.len()).await, expected, "{mode}");
    }
    let logs = outputs.get_mut("logs").expect("it is there");
    assert_eq!(take(logs, MESSAGES).await, payloads(MESSAGES, is_bad));
    let leak = outputs.get_mut("leak").expect("it is there");
    assert_eq!(take(leak, LEAKS).await, payloads(LEAKS, |_| true));

    // Every bad one is a dead letter that says why.
    let mut letters: BTreeMap<String, Vec<Delivered>> = BTreeMap::new();
    let expected: BTreeMap<&str, &str> = FATAL
        .iter()
        .map(|(mode, code, _)| (*mode, *code))
        .chain(BROKEN.iter().map(|(name, code, ..)| (*name, *code)))
        .collect();
    let is_whole = |letters: &BTreeMap<String, Vec<Delivered>>| {
        expected.keys().all(|route| letters.get(*route).is_some_and(|found| found.len() >= 2))
    };
    while !is_whole(&letters) {
        let letter = dead.recv().await.expect("it goes on").expect("without an error");
        let route = header(&letter, "wp-dlq-route");
        letters.entry(route).or_default().push(letter);
    }
    for (route, code) in &expected {
        let found = &letters[*route];
        assert_eq!(found.len(), 2, "{route}");
        for letter in found {
            assert!(text(letter).starts_with("bad"), "{route}: {}", text(letter));
            assert_eq!(header(letter, "wp-dlq-reason"), *code, "{route}");
        }
        let failures = format!("waypost_stage_failures_total{{reason=\"{code}\",route=\"{route}\"");
        assert!(series(&router, &failures).await >= 2.0, "{route}");
    }
    for (mode, _, says) in FATAL {
        let error = header(&letters[mode][0], "wp-dlq-error");
        assert!(error.contains(says), "{mode}: {error}");
    }
    let backtrace = header(&letters["panic"][0], "wp-dlq-error");
    assert!(backtrace.contains("harm"), "functions have names: {backtrace}");
    for quiet in ["logs", "leak"] {
        assert!(!letters.contains_key(quiet), "{quiet}");
    }
    let leaked = "waypost_stage_failures_total{reason=\"PLUGIN_MEMORY\",route=\"leak\"";
    assert!(series(&router, leaked).await >= 1.0, "the leak met its limit");
    assert!(
        series(&router, "waypost_plugin_log_lines_dropped_total{plugin=\"hostile\"").await > 0.0
    );
    let opened = "waypost_stage_breaker_opened_total{route=\"sulk\"";
    assert!(series(&router, opened).await >= 1.0, "its messages wait:\n{}", router.log());

    let waits = ordinary.end().await;
    println!("{} ordinary messages, p99 {:?}", waits.len(), p99(waits.clone()));
    let memory = router.memory_bytes().expect("it runs");
    println!("memory {} MiB", memory >> 20);
    assert!(memory < MOST_MEMORY_BYTES, "{} MiB", memory >> 20);
    router.signal("TERM").expect("it runs");
    router.wait().await.expect("it ends although messages wait");
}

/// Publishes bad messages to a route again and again, as far as it takes them.
async fn offend(client: Client, route: &'static str) {
    loop {
        publish(client.clone(), route.to_owned(), payloads(MESSAGES, |index| index % 7 == 3)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints what ordinary traffic feels of the offenders, and asserts nothing of it"]
async fn ordinary_traffic_is_measured_quiet_beside_offenders_and_beside_open_breakers() {
    const LONG: Duration = Duration::from_secs(10);
    let (router, _folder) = router().await;
    let measure = async |what: &str| {
        let ordinary = Ordinary::start(&router).await;
        tokio::time::sleep(LONG).await;
        let waits = ordinary.end().await;
        println!("{what}: {} messages, p99 {:?}", waits.len(), p99(waits));
    };
    measure("quiet").await;
    let client = router.client().await.expect("a connection");
    tokio::spawn(offend(client.clone(), "sulk"));
    for (name, ..) in BROKEN {
        tokio::spawn(offend(client.clone(), name));
    }
    let open = async || router.metric("waypost_stage_breaker_open").await.expect("a series");
    while open().await < (1 + BROKEN.len()) as f64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    measure("beside open breakers").await;
    for (mode, ..) in FATAL {
        tokio::spawn(offend(client.clone(), mode));
    }
    measure("beside open breakers and offenders").await;
}
