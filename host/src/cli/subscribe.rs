//! `waypost sub`: the messages of a pattern as they come.

use std::{io, time::Duration};

use waypost_client::{From, SubscribeError, Subscriber, SubscriberOptions};
use waypost_protocol::Pattern;

use super::{
    Failure,
    connection::{ConnectionOptions, init_log, runtime},
    output::counted,
    print::{Format, Printer},
    values::{duration, place},
};

/// How long a reader of standard output has for the last lines when the time is over.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What to subscribe to.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The pattern: a topic in which * stands for a level and a final > for the rest.
    pattern: Pattern,
    /// Read streams from here on: beginning, an offset, how long ago as in 10m, or @ and
    /// milliseconds since the Unix epoch.
    #[arg(long, value_name = "FROM", value_parser = place)]
    from: Option<From>,
    /// The only partition to read; an offset needs it where there are several.
    #[arg(long, value_name = "N", requires = "from")]
    partition: Option<u32>,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so long, as in 500ms, 10s or 2m. With --count it is a failure not to have them by then.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// How to print a message; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    connection: ConnectionOptions,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    init_log("warn,waypost_client=info")?;
    runtime()?.block_on(subscribe(options))
}

async fn subscribe(options: &Options) -> Result<(), Failure> {
    // Whoever watches a topic wants to go on watching it, however long the router is away.
    let client = options.connection.connect(None).await?;
    let SubscriberOptions { credit_messages, credit_bytes, .. } = SubscriberOptions::default();
    let Options { from, partition, .. } = *options;
    let wanted = SubscriberOptions { credit_messages, credit_bytes, from, partition };
    let subscriber = client.subscribe(options.pattern.as_str(), wanted).await?;
    // Whoever starts it in a script can wait for this before publishing.
    eprintln!("subscribed to {}", options.pattern);
    let printer = Printer::start(options.output)?;
    let taken = tokio::select! {
        taken = take(subscriber, options, printer) => taken,
        // An interrupt is how a person ends it.
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    client.close().await;
    taken
}

async fn take(
    mut subscriber: Subscriber,
    options: &Options,
    printer: Printer,
) -> Result<(), Failure> {
    let mut left = options.count;
    let taking = take_count(&mut subscriber, &mut left, &printer);
    let timeout = options.timeout.unwrap_or(Duration::MAX);
    let taken = tokio::time::timeout(timeout, taking).await;
    let finish = printer.finish();
    let printed = if taken.is_ok() {
        finish.await
    } else {
        // What was handed over is printed if somebody reads it.
        tokio::time::timeout(LAST_LINES, finish).await.unwrap_or(Ok(()))
    };
    match printed {
        // Whoever read the other end of the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        printed => printed?,
    }
    match (taken, left) {
        (Ok(taken), _) => Ok(taken?),
        (Err(_), Some(left)) => {
            let missing = counted(left, "message");
            Err(anyhow::anyhow!("the time is over before {missing} came").into())
        }
        (Err(_), None) => Ok(()),
    }
}

/// Takes messages until there were enough, the subscription ends, or nobody reads them.
async fn take_count(
    subscriber: &mut Subscriber,
    left: &mut Option<u64>,
    printer: &Printer,
) -> Result<(), SubscribeError> {
    while *left != Some(0) {
        let received = tokio::select! {
            received = subscriber.recv() => received,
            () = printer.failed() => break,
        };
        let Some(message) = received else {
            break;
        };
        if !printer.print(message?).await {
            break;
        }
        *left = left.map(|left| left - 1);
    }
    Ok(())
}
