//! Figures of the embedded engine: how long a start takes after a kill, and what messages on disk take of memory.
//!
//! `cargo test --release -p waypost-storage --test figures -- --ignored --nocapture` prints them; `WAYPOST_GIB` says how
//! large the log is, 1 GiB by default. A child writes the store, and another opens it, so that what one has in memory is not counted
//! for the other.
#![forbid(unsafe_code)]

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    num::NonZeroU32,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use waypost_core::{Partition, StreamName};
use waypost_protocol::{Batch, BatchBuilder, Envelope};
use waypost_storage::{Append, EmbeddedConfig, EmbeddedStorage, Storage};

const FOLDER: &str = "WAYPOST_FIGURES_FOLDER";
const BYTES: &str = "WAYPOST_FIGURES_BYTES";
const STREAMS: u32 = 10;
const PARTITIONS: u32 = 8;

fn partition(stream: u32, index: u32) -> Partition {
    let name = format!("s{stream}");
    Partition::new(StreamName::parse(&name).expect("a valid name"), index)
}

/// Messages of 128 bytes, 448 of them, as a publisher under load sends them.
fn batch() -> Batch {
    let mut builder = BatchBuilder::new();
    let payload = [7; 128];
    for key in 0..448_u32 {
        let key = key.to_be_bytes();
        builder.push("a.b", Some(&key[..]), &[], &payload, 1_000).expect("it keeps the limits");
    }
    builder.finish().expect("it has messages")
}

async fn open(folder: &Path, partitions: u32) -> EmbeddedStorage {
    let config = EmbeddedConfig { reserve_bytes: 0, ..EmbeddedConfig::new(folder) };
    let storage = EmbeddedStorage::open(config).expect("it opens");
    let count = NonZeroU32::new(partitions).expect("it is not zero");
    storage.declare(partition(0, 0).stream, count).await.expect("it is new or the same");
    storage
}

/// Resident memory of this process, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the system tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let number = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    number.expect("a number") / 1024
}

/// Runs a test of this file in a process of its own until it says so, and gives what it said.
fn child(test: &str, folder: &Path, bytes: u64) -> (std::process::Child, String) {
    let this = std::env::current_exe().expect("this test has a path");
    let mut child = Command::new(this)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(BYTES, bytes.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("it was asked for"));
    let said = output.lines().map_while(Result::ok);
    let said = said.into_iter().find_map(|line| line.strip_prefix("said ").map(str::to_owned));
    (child, said.expect("it comes to its end"))
}

fn asked() -> Option<(std::path::PathBuf, u64)> {
    let bytes = std::env::var(BYTES).ok()?.parse().ok()?;
    Some((std::env::var_os(FOLDER).as_deref().map(OsStr::to_owned)?.into(), bytes))
}

#[ignore = "a child of those below"]
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes() {
    let Some((folder, bytes)) = asked() else { return };
    let storage = std::sync::Arc::new(open(&folder, PARTITIONS).await);
    let batch = batch();
    let each = batch.byte_len() as u64;
    let writers = (0..PARTITIONS).map(|index| {
        let (storage, batch) = (storage.clone(), batch.clone());
        tokio::spawn(async move {
            for _ in 0..bytes.div_ceil(each * u64::from(PARTITIONS)) {
                let (partition, envelope) = (partition(0, index), Envelope::default());
                let append = Append { partition, batch: batch.clone(), envelope, origin: None };
                storage.append(append).await.expect("it is stored");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("it is well");
    }
    println!("\nsaid {}", resident_mib());
    // Until it is killed.
    std::future::pending::<()>().await;
}

#[ignore = "a child of those below"]
#[tokio::test(flavor = "multi_thread")]
async fn child_that_opens() {
    let Some((folder, _)) = asked() else { return };
    let before = Instant::now();
    let storage = open(&folder, PARTITIONS).await;
    let took = before.elapsed();
    let held = (0..PARTITIONS).map(|index| storage.bounds(&partition(0, index)));
    let held: u64 = held.map(|bounds| bounds.map_or(0, |bounds| bounds.held.messages)).sum();
    println!("\nsaid {} ms, {held} messages, {} MiB resident", took.as_millis(), resident_mib());
    storage.close().await;
}

/// Writes a log, kills the writer, and opens it.
fn reopened(bytes: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let before = Instant::now();
    let (mut writer, resident) = child("child_that_writes", folder.path(), bytes);
    let wrote = before.elapsed();
    writer.kill().expect("it waits for that");
    writer.wait().expect("it was killed");
    for start in ["after the kill", "after that"] {
        let (mut opener, said) = child("child_that_opens", folder.path(), bytes);
        opener.wait().expect("it ends");
        println!("{bytes} bytes, opened {start}: {said}");
    }
    println!(
        "{bytes} bytes were written in {} s by a process with {resident} MiB",
        wrote.as_secs()
    );
}

#[ignore = "it takes minutes and prints figures"]
#[test]
fn a_start_after_a_kill() {
    let gib = std::env::var("WAYPOST_GIB").ok().and_then(|gib| gib.parse::<u64>().ok());
    reopened(gib.unwrap_or(1) << 30);
}

#[ignore = "it takes a while and prints figures"]
#[test]
fn a_million_messages_on_disk_and_none() {
    reopened(0);
    let batches = 1_000_000_u64.div_ceil(batch().len() as u64);
    reopened(batches * batch().byte_len() as u64);
}

#[ignore = "it prints figures"]
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_partitions() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = NonZeroU32::new(1000).expect("it is not zero");
    let before = resident_mib();
    for start in 0..2 {
        let began = Instant::now();
        let storage = std::sync::Arc::new(open(folder.path(), 1000).await);
        for stream in 1..STREAMS {
            storage
                .declare(partition(stream, 0).stream, count)
                .await
                .expect("it is new or the same");
        }
        let opened = began.elapsed();
        let began = Instant::now();
        let batch = batch();
        let appends = (0..STREAMS).flat_map(|stream| (0..1000).map(move |index| (stream, index)));
        let appends = appends.map(|(stream, index)| {
            let (storage, batch) = (storage.clone(), batch.clone());
            tokio::spawn(async move {
                let (partition, envelope) = (partition(stream, index), Envelope::default());
                storage.append(Append { partition, batch, envelope, origin: None }).await
            })
        });
        for append in appends.collect::<Vec<_>>() {
            append.await.expect("it is well").expect("it is stored");
        }
        println!(
            "start {start}: {} ms, a batch to each partition: {} ms, {} MiB resident, {before} MiB before",
            opened.as_millis(),
            began.elapsed().as_millis(),
            resident_mib()
        );
        let storage = std::sync::Arc::into_inner(storage).expect("nobody else has it");
        storage.close().await;
    }
}
