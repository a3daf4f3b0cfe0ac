//! `waypost reply`: replies to requests with a text, or with what a command makes of each.

use std::{ffi::OsString, process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::ArgGroup;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};
use waypost_client::{
    Delivered, Outcome, Publisher, PublisherOptions, Subscriber, SubscriberOptions,
};
use waypost_protocol::{MAX_MESSAGE_BYTES, Pattern};

use super::{
    Failure,
    connection::{ConnectionOptions, init_log, runtime},
};

/// What to reply to, and with what.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("answer").required(true)))]
pub(super) struct Options {
    /// The pattern: a topic in which * stands for a level and a final > for the rest.
    pattern: Pattern,
    /// Reply with this text.
    #[arg(long, value_name = "TEXT", group = "answer")]
    data: Option<String>,
    /// Run this command for each request, one after another, with the request's payload on standard input
    /// and its topic in WAYPOST_TOPIC; what it prints is the reply. Everything behind is its arguments,
    /// so this comes last. A command that fails, or is not done by the request's deadline, gives no reply.
    #[arg(
        long,
        value_name = "COMMAND",
        group = "answer",
        num_args = 1..,
        allow_hyphen_values = true
    )]
    exec: Vec<OsString>,
    /// End after so many replies.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    connection: ConnectionOptions,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    init_log("warn,waypost_client=info")?;
    runtime()?.block_on(reply(options))
}

async fn reply(options: &Options) -> Result<(), Failure> {
    // Whoever answers wants to go on answering, however long the router is away.
    let client = options.connection.connect(None).await?;
    let requests = client.subscribe(options.pattern.as_str(), SubscriberOptions::default()).await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    // Whoever starts it in a script can wait for this before asking.
    eprintln!("replies to {}", options.pattern);
    let answered = tokio::select! {
        answered = answer_all(requests, options, &publisher) => answered,
        // An interrupt is how a person ends it.
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    drop(publisher);
    client.close().await;
    Ok(answered?)
}

async fn answer_all(
    mut requests: Subscriber,
    options: &Options,
    publisher: &Publisher,
) -> anyhow::Result<()> {
    let mut left = options.count;
    while left != Some(0) {
        let Some(request) = requests.recv().await else {
            break;
        };
        let request = request?;
        match answer(&request, options, publisher).await {
            Ok(()) => left = left.map(|left| left - 1),
            Err(error) => eprintln!("no reply to a message on {}: {error:#}", request.topic()),
        }
    }
    Ok(())
}

/// Replies to one request. An error is of this request alone.
async fn answer(
    request: &Delivered,
    options: &Options,
    publisher: &Publisher,
) -> anyhow::Result<()> {
    ensure!(request.reply_to().is_some(), "it asks for none");
    let receipt = match options.exec.split_first() {
        Some((program, arguments)) => {
            let left = request.time_left().unwrap_or(Duration::MAX);
            let made = tokio::time::timeout(left, make(program, arguments, request)).await;
            publisher.reply(request, made.context("its deadline has passed")??).await?
        }
        None => publisher.reply(request, options.data.as_deref().unwrap_or_default()).await?,
    };
    match receipt.await {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Rejected { code, message } => bail!("{code}: {message}"),
        Outcome::Unknown { reason } => bail!("{reason}"),
    }
}

/// What the command makes of a request. It is killed when nobody waits for it any more.
async fn make(
    program: &OsString,
    arguments: &[OsString],
    request: &Delivered,
) -> anyhow::Result<Vec<u8>> {
    let name = || program.display().to_string();
    let mut child = Command::new(program)
        .args(arguments)
        .env("WAYPOST_TOPIC", request.topic())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A group of its own, so that what it starts is killed with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(name)?;
    let running = Running(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command may have seen enough before the end.
            let _ = stdin.write_all(request.payload()).await;
        }
    };
    let most = u64::from(MAX_MESSAGE_BYTES);
    let read = async {
        let mut reply = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(most + 1).read_to_end(&mut reply).await?;
        }
        ensure!(reply.len() as u64 <= most, "{} printed more than {most} bytes", name());
        Ok(reply)
    };
    let ((), reply) = tokio::join!(feed, read);
    let reply = reply?;
    let status = child.wait().await.with_context(name)?;
    running.ended();
    ensure!(status.success(), "{} ended with {status}", name());
    Ok(reply)
}

/// The process group of a command, which is killed with this unless the command has ended.
struct Running(Option<Pid>);

impl Running {
    /// The number may be another's from now on.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // One that is gone needs no end.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
