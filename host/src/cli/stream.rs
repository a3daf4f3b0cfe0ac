//! `waypost stream`: what the streams of a running router hold, and what that takes of the disk.

use std::fmt::Write as _;

use anyhow::anyhow;
use waypost_core::StreamName;

use super::{
    Failure,
    admin::AdminOptions,
    connection::runtime,
    output::{Format, counted, write_line},
    print::write_shown,
};
use crate::{
    admin::StreamList,
    streams::{StorageStatus, StreamStatus},
};

/// What to see of streams.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List the streams with what each holds, and what storage takes of the disk.
    List(List),
    /// Show a stream: what it keeps, and what each partition holds.
    Show(Show),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// How to print it; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The stream.
    #[arg(value_parser = stream)]
    stream: StreamName,
    /// How to print it; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    admin: AdminOptions,
}

fn stream(text: &str) -> Result<StreamName, String> {
    StreamName::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match action {
            Action::List(options) => list(options).await,
            Action::Show(options) => show(options).await,
        }
    })
}

async fn list(options: &List) -> Result<(), Failure> {
    let list: StreamList = options.admin.get("/api/v1/streams").await?;
    match Format::or_default(options.output) {
        Format::Json => Ok(write_line(&list)?),
        Format::Pretty => Ok(write_shown(&table(&list))?),
    }
}

async fn show(options: &Show) -> Result<(), Failure> {
    let list: StreamList = options.admin.get("/api/v1/streams").await?;
    let name = options.stream.as_str();
    let names: Vec<String> = list.streams.iter().map(|stream| stream.name.clone()).collect();
    let found = list.streams.into_iter().find(|stream| stream.name == name);
    let found = found.ok_or_else(|| match names.as_slice() {
        [] => anyhow!("there is no stream {name}, and no other one"),
        names => anyhow!("there is no stream {name}; there are {}", names.join(", ")),
    })?;
    match Format::or_default(options.output) {
        Format::Json => Ok(write_line(&found)?),
        Format::Pretty => Ok(write_shown(&details(&found))?),
    }
}

/// A line for each stream, and one for what keeps them.
fn table(list: &StreamList) -> String {
    let mut text = String::new();
    if list.streams.is_empty() {
        return "no streams\n".to_owned();
    }
    for stream in &list.streams {
        // A string takes any text.
        let _ = writeln!(text, "{}", line(stream));
    }
    let StorageStatus { promises, disk_bytes, free_bytes, reserve_bytes } = &list.storage;
    let _ = writeln!(text, "storage: {promises}");
    if let (Some(disk), Some(free), Some(reserve)) = (disk_bytes, free_bytes, reserve_bytes) {
        let _ = writeln!(
            text,
            "  {disk} bytes on disk, {free} free, of which {reserve} are held in reserve"
        );
    }
    text
}

fn line(stream: &StreamStatus) -> String {
    let (topics, partitions) = (stream.topics.join(", "), stream.partitions.len() as u64);
    let (messages, bytes) = (counted(stream.held_messages(), "message"), stream.held_bytes());
    let unsafe_sync = if stream.fsync == "none" { ", not synced (unsafe)" } else { "" };
    let partitions = counted(partitions, "partition");
    format!(
        "{} keeps {topics}: {messages}, {bytes} bytes in {partitions}{unsafe_sync}",
        stream.name
    )
}

fn details(stream: &StreamStatus) -> String {
    let mut text = line(stream) + "\n";
    let bounds = [
        ("max_age_ms", stream.max_age_ms),
        ("max_bytes", stream.max_bytes),
        ("max_messages", stream.max_messages),
        ("ttl_ms", stream.ttl_ms),
    ];
    for (name, bound) in bounds {
        if let Some(bound) = bound {
            let _ = writeln!(text, "  {name} {bound}");
        }
    }
    for each in &stream.partitions {
        let (partition, first, next) = (each.partition, each.first_offset, each.next_offset);
        let (messages, bytes) = (counted(each.messages, "message"), each.bytes);
        let _ = writeln!(
            text,
            "  {partition}: from {first} to before {next}, {messages}, {bytes} bytes"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::PartitionStatus;

    #[test]
    fn a_stream_is_told_in_a_line_and_its_parts_below() {
        let partition = PartitionStatus {
            partition: 0,
            first_offset: 3,
            next_offset: 10,
            messages: 7,
            bytes: 900,
        };
        let stream = StreamStatus {
            name: "jobs".into(),
            topics: vec!["jobs.>".into(), "work".into()],
            max_age_ms: None,
            max_bytes: Some(5000),
            max_messages: None,
            fsync: "none".into(),
            ttl_ms: Some(60_000),
            partitions: vec![partition],
        };
        let head =
            "jobs keeps jobs.>, work: 7 messages, 900 bytes in 1 partition, not synced (unsafe)\n";
        let expected = format!(
            "{head}  max_bytes 5000\n  ttl_ms 60000\n  0: from 3 to before 10, 7 messages, 900 bytes\n"
        );
        assert_eq!(details(&stream), expected);
        let storage = StorageStatus {
            promises: "x".into(),
            disk_bytes: Some(1),
            free_bytes: Some(2),
            reserve_bytes: Some(3),
        };
        let list = StreamList { streams: vec![stream], storage };
        let disk = "storage: x\n  1 bytes on disk, 2 free, of which 3 are held in reserve\n";
        assert_eq!(table(&list), format!("{head}{disk}"));
    }
}
