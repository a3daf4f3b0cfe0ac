//! The embedded engine is killed at each call that changes a file: at every write, within every write, at every sync, and
//! wherever a file is made, renamed, cut or removed; by SIGKILL alone, and with the loss of whatever was not synced.
//!
//! A child is this test again, with the library of `tests/shim` loaded before the C library. It does the same work each
//! time, and dies one call later each time, until it comes to its end; some calls later unless `WAYPOST_EACH_CALL` is set.
#![forbid(unsafe_code)]

use std::{
    num::NonZeroU32,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use waypost_core::{Partition, Retention, RouteName, StreamName};
use waypost_protocol::{BatchBuilder, Envelope, Epoch, Offset, Producer, ProducerId, Sequence};
use waypost_storage::{
    Append, Appended, EmbeddedConfig, EmbeddedStorage, ReadLimit, Step, Storage, Unit,
};

const FOLDER: &str = "WAYPOST_STORAGE_CHILD";
const PRODUCER: ProducerId = ProducerId(1);
/// What the child publishes and copies.
const NUMBERS: u64 = 5;
/// What the stream keeps of it.
const KEPT: u64 = 2;
const KILLED: i32 = 9;
/// Of so many calls one is taken where there is no time for all.
const STRIDE: usize = 10;

fn partition(index: u32) -> Partition {
    Partition::new(StreamName::parse("numbers").expect("a valid name"), index)
}

fn route() -> RouteName {
    RouteName::parse("copy").expect("a valid name")
}

/// A batch with one message, its number.
fn append(index: u32, number: u64, producer: Option<Producer>) -> Append {
    let mut builder = BatchBuilder::new();
    let payload = number.to_be_bytes();
    builder.push("numbers", None, &[], &payload, 0).expect("it keeps the limits");
    let batch = builder.finish().expect("it has a message");
    let envelope = Envelope { ingest_ms: number, producer, ..Envelope::default() };
    Append { partition: partition(index), batch, envelope, origin: None }
}

fn published(number: u64) -> Append {
    let producer = Producer { id: PRODUCER, epoch: Epoch(1), first_sequence: Sequence(number) };
    append(0, number, Some(producer))
}

/// Copies a number to the other partition in a step of a route.
fn copied(number: u64) -> Unit {
    let step = Step {
        route: route(),
        source: partition(0),
        from: (number > 0).then_some(Offset(number)),
        to: Offset(number + 1),
        park: Vec::new(),
        unpark: Vec::new(),
    };
    Unit { appends: vec![append(1, number, None)], step: Some(step), ..Unit::default() }
}

fn retention() -> Retention {
    Retention { max_messages: Some(KEPT), ..Retention::default() }
}

async fn open(folder: &Path) -> EmbeddedStorage {
    let config = EmbeddedConfig { reserve_bytes: 0, ..EmbeddedConfig::new(folder) };
    let storage = EmbeddedStorage::open(config).expect("nothing that was acknowledged is lost");
    let two = NonZeroU32::new(2).expect("two is not zero");
    storage.declare(partition(0).stream, two).await.expect("it is new or the same");
    storage.open_producer(PRODUCER, Epoch(1), 0).await.expect("no other life was opened");
    storage
}

#[ignore = "a child of the tests below"]
#[tokio::test]
async fn child_that_publishes_copies_and_trims() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let storage = open(Path::new(&folder)).await;
    for number in 0..NUMBERS {
        storage.append(published(number)).await.expect("it is in sequence");
        println!("\npublished");
        storage.commit(copied(number)).await.expect("the progress is ours");
        println!("\ncopied");
        storage.trim(partition(1), retention(), 0).await.expect("it is there");
        println!("\ntrimmed");
    }
    storage.close().await;
}

/// What the child was told before it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    published: u64,
    copied: u64,
    trimmed: u64,
}

/// The library, which is built beside the tests.
fn shim() -> PathBuf {
    let this = std::env::current_exe().expect("this test has a path");
    let profile = this.ancestors().nth(2).expect("it stands in deps, in the folder of the profile");
    let library = profile.join("libwaypost_faults.so");
    let missing = "is missing: cargo build -p waypost-faults";
    assert!(library.exists(), "{} {missing}", library.display());
    library
}

/// Lets the child work in a new folder until it meets a fault. Gives what it was told, unless it met none.
fn work(folder: &Path, fault: &str, disk: Option<&PathBuf>) -> Option<Told> {
    let this = std::env::current_exe().expect("this test has a path");
    let mut command = Command::new(this);
    command
        .args(["--exact", "child_that_publishes_copies_and_trims", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env("LD_PRELOAD", shim())
        .env("WAYPOST_FAULT_FOLDER", folder)
        .env("WAYPOST_FAULT", fault)
        .stdin(Stdio::null());
    if let Some(disk) = disk {
        for part in ["data", "tree"] {
            std::fs::create_dir_all(disk.join(part)).expect("a folder");
        }
        command.env("WAYPOST_FAULT_DISK", disk);
    }
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let count = |what: &str| text.lines().filter(|line| *line == what).count() as u64;
    let (published, copied, trimmed) = (count("published"), count("copied"), count("trimmed"));
    let told = Told { published, copied, trimmed };
    if output.status.success() {
        let all = Told { published: NUMBERS, copied: NUMBERS, trimmed: NUMBERS };
        assert_eq!(told, all, "{fault}: it came to its end");
        return None;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(KILLED), "{fault}: {text}{errors}");
    Some(told)
}

/// The numbers in a partition, in order.
async fn numbers(storage: &EmbeddedStorage, index: u32) -> Vec<u64> {
    let bounds = storage.bounds(&partition(index)).expect("it was declared");
    let read = storage.read(partition(index), bounds.first, ReadLimit::default()).await;
    let chunk = read.expect("everything is whole");
    assert_eq!(chunk.next, bounds.next, "one read has all of it");
    let payloads = chunk.batches.iter().map(|stored| stored.batch.payloads().get(0));
    let number = |payload: Option<&[u8]>| {
        u64::from_be_bytes(payload.and_then(|bytes| bytes.try_into().ok()).expect("a number"))
    };
    payloads.map(number).collect()
}

/// Holds what is there against what the child was told, and goes on with it to the end.
async fn check(folder: &Path, told: Told, fault: &str) {
    let storage = open(folder).await;
    let (originals, copies) = (numbers(&storage, 0).await, numbers(&storage, 1).await);
    let stored = originals.len() as u64;
    assert!(originals.into_iter().eq(0..stored), "{fault}: each once, in order");
    assert!((told.published..=told.published + 1).contains(&stored), "{fault}: {told:?}, {stored}");
    let progress = storage.progress(route(), partition(0)).await.expect("it is readable");
    let progress = progress.map_or(0, |offset| offset.0);
    assert!((told.copied..=told.copied + 1).contains(&progress), "{fault}: {told:?}, {progress}");
    let bounds = storage.bounds(&partition(1)).expect("it was declared");
    assert_eq!(bounds.next, Offset(progress), "{fault}: outputs and progress move together");
    assert!(copies.into_iter().eq(bounds.first.0..progress), "{fault}: each once, in order");
    let trimmed = |rounds: u64| rounds.saturating_sub(KEPT);
    let least = trimmed(told.trimmed);
    assert!((least..=least + 1).contains(&bounds.first.0), "{fault}: {told:?}, {bounds:?}");
    if let Some(last) = stored.checked_sub(1) {
        let again = storage.append(published(last)).await.expect("it is in sequence");
        let first_offset = Some(Offset(last));
        assert_eq!(again, Appended::Duplicate { first_offset }, "{fault}: it was noted with it");
    }
    for number in stored..NUMBERS {
        let first_offset = Offset(number);
        let appended = storage.append(published(number)).await.expect("it is in sequence");
        assert_eq!(appended, Appended::Stored { first_offset }, "{fault}");
    }
    for number in progress..NUMBERS {
        storage.commit(copied(number)).await.expect("the progress is ours");
    }
    storage.trim(partition(1), retention(), 0).await.expect("it is there");
    assert!(numbers(&storage, 0).await.into_iter().eq(0..NUMBERS), "{fault}");
    assert!(numbers(&storage, 1).await.into_iter().eq(NUMBERS - KEPT..NUMBERS), "{fault}");
    storage.close().await;
}

/// Lets the child die at calls of a kind, and gives at how many it did.
async fn die_at_each(action: &str, loses_power: bool) -> usize {
    let takes_each = std::env::var_os("WAYPOST_EACH_CALL").is_some();
    let numbers = (1..).step_by(if takes_each { 1 } else { STRIDE });
    for (points, number) in numbers.enumerate() {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, disk) = (folder.path().join("own"), folder.path().join("disk"));
        std::fs::create_dir(&own).expect("a folder");
        let fault = format!("{action}:{number}");
        let Some(told) = work(&own, &fault, loses_power.then_some(&disk)) else {
            return points;
        };
        let left = if loses_power { disk.join("tree") } else { own };
        check(&left, told, &fault).await;
    }
    unreachable!("the child has an end")
}

async fn check_each(loses_power: bool) {
    for action in ["kill:write", "tear:write", "kill:sync", "kill:open"] {
        let points = die_at_each(action, loses_power).await;
        println!("{action}: {points}");
        assert!(points > 3, "{action} was met {points} times");
    }
    for action in ["kill:rename", "kill:truncate", "kill:unlink"] {
        die_at_each(action, loses_power).await;
    }
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_kill_at_each_call_that_changes_a_file() {
    check_each(false).await;
}

#[tokio::test]
async fn what_is_acknowledged_survives_the_loss_of_power_at_each_call_that_changes_a_file() {
    check_each(true).await;
}
