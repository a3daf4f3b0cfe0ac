//! `waypost pub`: one message a line.

use std::{collections::VecDeque, path::PathBuf};

use anyhow::{anyhow, bail};
use serde_json::{Number, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use waypost_client::{Message, Outcome, PublishError, Publisher, PublisherOptions, Receipt};
use waypost_protocol::Topic;

use super::{
    Failure,
    connection::{ConnectionOptions, init_log, runtime},
    values::{destination, header, open, pointer},
};

/// Receipts that are waited for once so many lines are under way.
const MAX_WAITING: usize = 16_384;
/// A line longer than this is refused, so that a file without newlines is not held whole.
const MAX_LINE_BYTES: usize = 2 << 20;
/// Attempts to make a lost connection again, unless somebody says otherwise: a minute or so, after which
/// whoever waits for the command should know.
const RECONNECTS: u32 = 20;
/// Refusals that are told in words; the rest is counted.
const MAX_TOLD: u64 = 10;

/// What to publish.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The topic.
    #[arg(value_parser = destination)]
    topic: Topic,
    /// The file with the lines; - or nothing for standard input. Empty lines are passed over, and one of more
    /// than 2 MiB is rejected.
    #[arg(long, default_value = "-")]
    file: PathBuf,
    /// A JSON pointer into each line, whose text, truth value or number is the key. A line without it has none,
    /// nor has one whose number is too large to be exact.
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    key: Option<String>,
    /// A header of every message, as NAME=VALUE; may stand several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    connection: ConnectionOptions,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    init_log("warn,waypost_client=info")?;
    let runtime = runtime()?;
    let done = runtime.block_on(publish(options));
    // A read of standard input cannot be called off.
    runtime.shutdown_background();
    done
}

async fn publish(options: Options) -> Result<(), Failure> {
    let input = open(&options.file).await?;
    let client = options.connection.connect(Some(RECONNECTS)).await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    let mut tally = Tally::default();
    let sending = async {
        let sent = send_lines(input, &options, &publisher, &mut tally).await;
        publisher.flush().await;
        sent
    };
    let sent = tokio::select! {
        sent = sending => sent,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    // What has no outcome by now has none: its receipts say so.
    drop(publisher);
    tally.settle_all().await;
    client.close().await;
    let told = tally.tell();
    sent?;
    told
}

async fn send_lines(
    mut input: Box<dyn AsyncBufRead + Unpin>,
    options: &Options,
    publisher: &Publisher,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    let mut number = 0_u64;
    while read_line(&mut input, &mut line).await? {
        number += 1;
        if line.is_empty() {
            continue;
        }
        if line.len() > MAX_LINE_BYTES {
            tally.refuse(number, &format!("it has more than {MAX_LINE_BYTES} bytes"));
            continue;
        }
        let mut message = Message::new(options.topic.as_str(), line.as_slice());
        if let Some(pointer) = &options.key {
            match key_of(&line, pointer) {
                Some(key) => message = message.key(key),
                None => tally.keyless += 1,
            }
        }
        for (name, value) in &options.headers {
            message = message.header(name, value)?;
        }
        match publisher.publish(message).await {
            Ok(receipt) => tally.push(number, receipt).await,
            Err(PublishError::Closed(reason)) => bail!("line {number} was not published: {reason}"),
            Err(error) => tally.refuse(number, &error.to_string()),
        }
    }
    Ok(())
}

/// The next line without its end. Of one that is too long the beginning comes, a byte over the limit.
async fn read_line(
    input: &mut (dyn AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> anyhow::Result<bool> {
    line.clear();
    loop {
        let buffer = input.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = end.map_or(buffer, |end| buffer.get(..end).unwrap_or_default());
        let room = (MAX_LINE_BYTES + 1).saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let taken = end.map_or(buffer.len(), |end| end + 1);
        input.consume(taken);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
}

fn key_of(line: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let value: Value = serde_json::from_slice(line).ok()?;
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Number(number) if is_exact(number) => Some(number.to_string().into_bytes()),
        Value::Bool(truth) => Some(truth.to_string().into_bytes()),
        Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a number stands for itself alone: large ones that are no whole number of 64 bits have neighbours
/// that read the same.
fn is_exact(number: &Number) -> bool {
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let float = || number.as_f64().is_some_and(|value| value.abs() < MAX_EXACT);
    number.is_u64() || number.is_i64() || float()
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Tally {
    waiting: VecDeque<(u64, Receipt)>,
    committed: u64,
    unrouted: u64,
    rejected: u64,
    unknown: u64,
    keyless: u64,
}

impl Tally {
    async fn push(&mut self, line: u64, receipt: Receipt) {
        self.waiting.push_back((line, receipt));
        if self.waiting.len() > MAX_WAITING {
            self.settle_one().await;
        }
    }

    async fn settle_all(&mut self) {
        while !self.waiting.is_empty() {
            self.settle_one().await;
        }
    }

    async fn settle_one(&mut self) {
        let Some((line, receipt)) = self.waiting.pop_front() else {
            return;
        };
        match receipt.await {
            Outcome::Committed { unrouted, .. } => {
                self.committed += 1;
                self.unrouted += u64::from(unrouted);
            }
            Outcome::Rejected { code, message } => self.refuse(line, &format!("{code}: {message}")),
            Outcome::Unknown { reason } => {
                self.unknown += 1;
                if self.unknown <= MAX_TOLD {
                    eprintln!("line {line}: whether it was taken is unknown: {reason}");
                }
            }
        }
    }

    fn refuse(&mut self, line: u64, why: &str) {
        self.rejected += 1;
        if self.rejected <= MAX_TOLD {
            eprintln!("line {line} was rejected: {why}");
        }
    }

    fn tell(&self) -> Result<(), Failure> {
        let Self { committed, unrouted, rejected, unknown, keyless, .. } = self;
        eprint!("{committed} committed");
        for (count, what) in [
            (unrouted, "of them in batches with messages that nobody takes"),
            (rejected, "rejected"),
            (unknown, "unknown"),
            (keyless, "without a key"),
        ] {
            if *count > 0 {
                eprint!(", {count} {what}");
            }
        }
        eprintln!();
        if rejected + unknown > 0 { Err(Failure::Told) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_text_or_what_reads_as_one_value_alone() {
        let key = |line: &str| key_of(line.as_bytes(), "/k").map(String::from_utf8);
        for (line, expected) in [
            (r#"{"k":"a"}"#, Some("a")),
            (r#"{"k":18446744073709551615}"#, Some("18446744073709551615")),
            (r#"{"k":-1.5}"#, Some("-1.5")),
            (r#"{"k":true}"#, Some("true")),
            (r#"{"k":18446744073709551616}"#, None),
            (r#"{"k":[]}"#, None),
            ("{}", None),
            ("no JSON", None),
        ] {
            assert_eq!(key(line), expected.map(|text| Ok(text.to_owned())), "{line}");
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let long = "x".repeat(MAX_LINE_BYTES + 100_000);
        let text = format!("{long}\nnext\r\n\nlast");
        let mut input = text.as_bytes();
        let mut line = Vec::new();
        assert!(read_line(&mut input, &mut line).await.expect("it reads"));
        assert_eq!(line.len(), MAX_LINE_BYTES + 1);
        for expected in ["next", "", "last"] {
            assert!(read_line(&mut input, &mut line).await.expect("it reads"));
            assert_eq!(String::from_utf8_lossy(&line), expected);
        }
        assert!(!read_line(&mut input, &mut line).await.expect("it reads"));
    }
}
