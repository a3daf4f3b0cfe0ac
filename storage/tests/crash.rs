//! The embedded engine in a process of its own that ends as processes do when it matters: by SIGKILL, and by a
//! disk that takes no more.
//!
//! A child is this test again, with the folder of its store in its environment; it does nothing without one.
#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Lines},
    num::NonZeroU32,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::process::{Resource, Rlimit, setrlimit};
use waypost_core::{Partition, RouteName, StreamName};
use waypost_protocol::{BatchBuilder, Envelope, Epoch, Offset, Producer, ProducerId, Sequence};
use waypost_storage::{
    Append, Appended, CommitError, EmbeddedConfig, EmbeddedStorage, ReadLimit, Step, Storage, Unit,
};

const FOLDER: &str = "WAYPOST_STORAGE_CHILD";
/// The acknowledgements after which the child is killed in each round: at once, and after some while.
const ROUNDS: [usize; 12] = [0, 1, 40, 3, 17, 2, 60, 1, 9, 0, 33, 5];
const PRODUCER: ProducerId = ProducerId(1);

fn partition(index: u32) -> Partition {
    Partition::new(StreamName::parse("numbers").expect("a valid name"), index)
}

fn route() -> RouteName {
    RouteName::parse("copy").expect("a valid name")
}

/// A batch with one message: its number, and after it so much that batches differ in size.
fn append(index: u32, number: u64) -> Append {
    let filler = usize::try_from(number * 7919 % 30_000).expect("it is small");
    let payload = format!("{number} {}", "x".repeat(filler));
    let mut builder = BatchBuilder::new();
    builder.push("numbers", None, &[], payload.as_bytes(), 0).expect("it keeps the limits");
    let batch = builder.finish().expect("it has a message");
    let envelope = Envelope { ingest_ms: number, ..Envelope::default() };
    Append { partition: partition(index), batch, envelope, origin: None }
}

fn published(number: u64) -> Append {
    let mut append = append(0, number);
    let (epoch, first_sequence) = (Epoch(1), Sequence(number));
    append.envelope.producer = Some(Producer { id: PRODUCER, epoch, first_sequence });
    append
}

async fn open(folder: &Path) -> EmbeddedStorage {
    let config = EmbeddedConfig { reserve_bytes: 0, ..EmbeddedConfig::new(folder) };
    let storage = EmbeddedStorage::open(config).expect("nothing that was acknowledged is lost");
    let two = NonZeroU32::new(2).expect("two is not zero");
    storage.declare(partition(0).stream, two).await.expect("it is new or the same");
    storage.open_producer(PRODUCER, Epoch(1), 0).await.expect("no other life was opened");
    storage
}

fn next(storage: &EmbeddedStorage, index: u32) -> u64 {
    storage.bounds(&partition(index)).expect("it was declared").next.0
}

/// The numbers in a partition, in order.
async fn numbers(storage: &EmbeddedStorage, index: u32) -> Vec<u64> {
    let (mut all, mut from) = (Vec::new(), Offset(0));
    loop {
        let read = storage.read(partition(index), from, ReadLimit::default()).await;
        let chunk = read.expect("everything is whole");
        if chunk.batches.is_empty() {
            return all;
        }
        for stored in &chunk.batches {
            let payload = stored.batch.payloads().get(0).unwrap_or_default();
            let text = std::str::from_utf8(payload).expect("it is text");
            let number = text.split(' ').next().and_then(|number| number.parse().ok());
            all.push(number.expect("it begins with its number"));
        }
        from = chunk.next;
    }
}

/// Publishes numbers, copies each to the other partition in a step of a route, and says so, for ever.
#[ignore = "a child of the test below"]
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let storage = open(Path::new(&folder)).await;
    println!("\nack open");
    let first = next(&storage, 1);
    if let Some(last) = next(&storage, 0).checked_sub(1) {
        let again = storage.append(published(last)).await.expect("it is in sequence");
        assert_eq!(again, Appended::Duplicate { first_offset: Some(Offset(last)) });
    }
    for number in first.. {
        storage.append(published(number)).await.expect("it is in sequence");
        let progress = storage.progress(route(), partition(0)).await.expect("it is readable");
        let step = Step {
            route: route(),
            source: partition(0),
            from: progress,
            to: Offset(number + 1),
            park: Vec::new(),
            unpark: Vec::new(),
        };
        let unit = Unit { appends: vec![append(1, number)], step: Some(step), ..Unit::default() };
        storage.commit(unit).await.expect("the progress is ours");
        println!("\nack {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill_once_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = None;
    for acks in ROUNDS {
        let mut child = Acking::start("child_that_writes_until_it_is_killed", folder.path());
        assert_eq!(child.next_ack().as_deref(), Some("open"));
        for _ in 0..acks {
            let number = child.next_ack().expect("it writes on").parse::<u64>();
            acknowledged = Some(number.expect("a number"));
        }
        acknowledged = child.kill().or(acknowledged);

        let storage = open(folder.path()).await;
        let (published, copied) = (numbers(&storage, 0).await, numbers(&storage, 1).await);
        let least = acknowledged.map_or(0, |number| number + 1);
        let found = copied.len() as u64;
        assert!((least..=least + 1).contains(&found), "{least} acknowledged, {found} found");
        assert!(copied.iter().copied().eq(0..found), "each once, in order");
        assert!(published.iter().copied().eq(0..published.len() as u64), "each once, in order");
        assert!((found..=found + 1).contains(&(published.len() as u64)));
        let progress = storage.progress(route(), partition(0)).await.expect("it is readable");
        assert_eq!(progress.map_or(0, |offset| offset.0), found, "it moved with its outputs");
        storage.close().await;
    }
    assert!(acknowledged.is_some_and(|number| number >= 100), "it came somewhere");
}

/// Writes until its file may grow no further, and looks at what is left.
#[ignore = "a child of the test below"]
#[tokio::test(flavor = "multi_thread")]
async fn child_whose_disk_takes_no_more() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let storage = open(Path::new(&folder)).await;
    let bytes = Some(1 << 20);
    let limit = Rlimit { current: bytes, maximum: bytes };
    setrlimit(Resource::Fsize, limit).expect("a limit may be lowered");
    let mut number = 0;
    let failed = loop {
        match storage.append(published(number)).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, CommitError::Unknown { .. }), "it may be on disk: {failed:?}");
    assert!(failed.code().is_none(), "the publisher is told nothing");
    let reason = storage.fence().raised().await;
    for refused in [published(number), append(1, 0)] {
        let refused = storage.append(refused).await;
        assert_eq!(refused, Err(CommitError::Fenced { reason: reason.clone() }));
    }
    assert!(numbers(&storage, 0).await.into_iter().eq(0..number), "reads go on");
    println!("\nack {number}");
    // What a host does when the fence is up.
    std::process::exit(75);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_fences_the_store_and_the_next_start_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Acking::start("child_whose_disk_takes_no_more", folder.path());
    let acknowledged: u64 = child.next_ack().expect("it met the limit").parse().expect("a number");
    assert_eq!(child.end().code(), Some(75));
    assert!(acknowledged > 10, "it wrote something before");
    let storage = open(folder.path()).await;
    let found = numbers(&storage, 0).await;
    // The failed one may have been written.
    assert!((acknowledged..=acknowledged + 1).contains(&(found.len() as u64)));
    assert!(found.iter().copied().eq(0..found.len() as u64));
    let again = storage.append(published(acknowledged)).await.expect("it is in sequence");
    let stored = Appended::Stored { first_offset: Offset(acknowledged) };
    let duplicate = Appended::Duplicate { first_offset: Some(Offset(acknowledged)) };
    assert!([stored, duplicate].contains(&again), "asking again settles it: {again:?}");
}

/// A child that says `ack ...` in lines of its own.
struct Acking {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Acking {
    /// Starts a test of this file. A shell lets it ignore the signal that comes with the limit on files.
    fn start(test: &str, folder: &Path) -> Self {
        let this = std::env::current_exe().expect("this test has a path");
        let mut arguments = vec![OsString::from("-c"), "trap '' XFSZ; exec \"$0\" \"$@\"".into()];
        arguments.push(this.into());
        arguments.extend(["--exact", test, "--ignored", "--nocapture"].map(OsString::from));
        let mut command = Command::new("sh");
        command.args(arguments).env(FOLDER, folder).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell starts");
        let output = child.stdout.take().expect("it was asked for");
        Self { child, lines: BufReader::new(output).lines() }
    }

    /// What it says next; `None` when it has ended.
    fn next_ack(&mut self) -> Option<String> {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines.find_map(|line| line.strip_prefix("ack ").map(str::to_owned))
    }

    /// Kills it, and gives the last number that it had still said.
    fn kill(mut self) -> Option<u64> {
        self.child.kill().expect("it is still writing");
        let mut last = None;
        while let Some(ack) = self.next_ack() {
            last = Some(ack.parse().expect("a line is written at once"));
        }
        self.child.wait().expect("it was killed");
        last
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}
