//! `waypost pub`: one message a line.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::{anyhow, bail};
use serde_json::json;
use waypost_client::{Message, Outcome, PublishError, Publisher, PublisherOptions, Receipt};
use waypost_protocol::Topic;

use super::{
    Failure,
    connection::{ConnectionOptions, init_log, runtime},
    lines::{Line, Lines, MessageOptions},
    output::{Format, OutcomeOptions, write_line},
    progress::{Progress, tell},
    values::{destination, time_to_live},
};

/// Receipts that are waited for once so many lines are under way.
const MAX_WAITING: usize = 16_384;
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
    /// How long each message lives, from when the router takes it in, as in 500ms, 30s, 10m or 1h. Afterwards nobody is
    /// handed it any more.
    #[arg(long, value_name = "TIME", value_parser = time_to_live)]
    ttl: Option<Duration>,
    #[command(flatten)]
    message: MessageOptions,
    #[command(flatten)]
    outcome: OutcomeOptions,
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
    let lines = Lines::open(&options.file).await?;
    let client = options.connection.connect(Some(RECONNECTS)).await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    let mut tally = Tally::new(options.outcome.format());
    // Whoever types the lines sees them, and a program sees nothing.
    let is_typed = options.file.as_os_str() == "-" && io::stdin().is_terminal();
    let is_shown = !is_typed && options.outcome.format() == Format::Pretty;
    let progress = is_shown.then(|| Progress::of_lines(lines.size()));
    let sending = async {
        let sent = send_lines(lines, &options, &publisher, &mut tally, progress.as_ref()).await;
        publisher.flush().await;
        sent
    };
    let sent = tokio::select! {
        sent = sending => sent,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    drop(progress);
    // What has no outcome by now has none: its receipts say so.
    drop(publisher);
    let settled = tally.settle_all().await;
    client.close().await;
    let told = tally.tell();
    sent?;
    settled?;
    told
}

async fn send_lines(
    mut lines: Lines,
    options: &Options,
    publisher: &Publisher,
    tally: &mut Tally,
    progress: Option<&Progress>,
) -> anyhow::Result<()> {
    while let Some(Line { number, text }) = lines.next().await? {
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                tally.refuse(number, None, &error.to_string())?;
                continue;
            }
        };
        let mut message = Message::new(options.topic.as_str(), text);
        match options.message.key_of(text) {
            Some(key) => message = message.key(key),
            None => tally.keyless += u64::from(options.message.wants_key()),
        }
        for (name, value) in options.message.headers() {
            message = message.header(name, value)?;
        }
        if let Some(ttl) = options.ttl {
            message = message.ttl(ttl)?;
        }
        match publisher.publish(message).await {
            Ok(receipt) => tally.push(number, receipt).await?,
            Err(PublishError::Closed(reason)) => bail!("line {number} was not published: {reason}"),
            Err(error) => tally.refuse(number, None, &error.to_string())?,
        }
        if let Some(progress) = progress {
            progress.advance(lines.bytes(), number);
        }
    }
    Ok(())
}

/// What became of the lines.
#[derive(Debug)]
struct Tally {
    format: Format,
    waiting: VecDeque<(u64, Receipt)>,
    committed: u64,
    unrouted: u64,
    rejected: u64,
    unknown: u64,
    keyless: u64,
}

impl Tally {
    fn new(format: Format) -> Self {
        Self {
            format,
            waiting: VecDeque::new(),
            committed: 0,
            unrouted: 0,
            rejected: 0,
            unknown: 0,
            keyless: 0,
        }
    }

    async fn push(&mut self, line: u64, receipt: Receipt) -> anyhow::Result<()> {
        self.waiting.push_back((line, receipt));
        if self.waiting.len() > MAX_WAITING {
            self.settle_one().await?;
        }
        Ok(())
    }

    async fn settle_all(&mut self) -> anyhow::Result<()> {
        while !self.waiting.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    async fn settle_one(&mut self) -> anyhow::Result<()> {
        let Some((line, receipt)) = self.waiting.pop_front() else {
            return Ok(());
        };
        match receipt.await {
            Outcome::Committed { unrouted, .. } => {
                self.committed += 1;
                self.unrouted += u64::from(unrouted);
            }
            Outcome::Rejected { code, message } => {
                self.refuse(line, Some(&code.to_string()), &message)?;
            }
            Outcome::Unknown { reason } => {
                self.unknown += 1;
                let why = reason.to_string();
                if self.format == Format::Json {
                    let line = json!({ "line": line, "outcome": "unknown", "error": why });
                    write_line(&line)?;
                } else if self.unknown <= MAX_TOLD {
                    tell(&format!("line {line}: whether it was taken is unknown: {why}"));
                }
            }
        }
        Ok(())
    }

    /// Counts a line that was not taken. As JSON each is told, for whoever sends them again.
    fn refuse(&mut self, line: u64, code: Option<&str>, why: &str) -> anyhow::Result<()> {
        self.rejected += 1;
        if self.format == Format::Json {
            let told = json!({ "line": line, "outcome": "rejected", "code": code, "error": why });
            return write_line(&told);
        }
        if self.rejected <= MAX_TOLD {
            let code = code.map_or_else(String::new, |code| format!("{code}: "));
            tell(&format!("line {line} was rejected: {code}{why}"));
        }
        Ok(())
    }

    fn tell(&self) -> Result<(), Failure> {
        let failed = if self.rejected + self.unknown > 0 { Err(Failure::Told) } else { Ok(()) };
        let Self { committed, unrouted, rejected, unknown, keyless, .. } = self;
        if self.format == Format::Json {
            write_line(&json!({ "summary": {
                "committed": committed,
                "unrouted": unrouted,
                "rejected": rejected,
                "unknown": unknown,
                "keyless": keyless,
            }}))?;
            return failed;
        }
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
        failed
    }
}
