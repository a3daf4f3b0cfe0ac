//! `waypost sub`: the messages of a pattern as they come.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use tokio::time::Instant;
use waypost_client::{Subscriber, SubscriberOptions};

use super::{
    Failure,
    connection::{ConnectionOptions, runtime},
    print::{Format, Printer},
};

/// What to subscribe to.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The pattern: a topic in which * stands for a level and a final > for the rest.
    pattern: String,
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

fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().map_err(|_| "write a number and ms, s, m or h".to_owned())?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is no unit; write ms, s, m or h")),
    };
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    runtime()?.block_on(subscribe(options))
}

async fn subscribe(options: &Options) -> Result<(), Failure> {
    let on_terminal = if io::stdout().is_terminal() { Format::Pretty } else { Format::Json };
    let colour = io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut printer = Printer::new(options.output.unwrap_or(on_terminal), colour);
    let client = options.connection.connect().await?;
    let subscriber = client.subscribe(&options.pattern, SubscriberOptions::default()).await?;
    let taken = tokio::select! {
        taken = take(subscriber, options, &mut printer) => taken,
        // An interrupt is how a person ends it.
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    client.close().await;
    taken
}

async fn take(
    mut subscriber: Subscriber,
    options: &Options,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let end = options.timeout.map(|timeout| Instant::now() + timeout);
    let mut left = options.count;
    while left != Some(0) {
        let next = subscriber.recv();
        let next = match end {
            Some(end) => tokio::time::timeout_at(end, next).await,
            None => Ok(next.await),
        };
        let Ok(next) = next else {
            printer.flush()?;
            return match left {
                Some(left) => {
                    Err(anyhow::anyhow!("the time is over, {left} messages are missing").into())
                }
                None => Ok(()),
            };
        };
        match next {
            Some(message) => match printer.print(&message?) {
                // Whoever read the other end of the pipe has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                printed => printed?,
            },
            None => break,
        }
        left = left.map(|left| left - 1);
    }
    printer.flush()?;
    Ok(())
}
