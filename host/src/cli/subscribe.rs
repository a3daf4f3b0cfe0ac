//! `waypost sub`: the messages of a pattern as they come, or as a member of a group.

use std::{io, time::Duration};

use waypost_client::{
    GroupStart, Member, MemberOptions, SubscribeError, Subscriber, SubscriberOptions,
};
use waypost_protocol::Pattern;

use super::{
    Failure,
    connection::{ConnectionOptions, init_log, runtime},
    output::counted,
    print::{Format, Printed, Printer},
    values::{patience, place},
};

/// How long a reader of standard output has for the last lines when the time is over.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What to subscribe to.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The pattern: a topic in which * stands for a level and a final > for the rest.
    pattern: Pattern,
    /// Be a member of this group, whose members share the messages; each is acknowledged once it is printed.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Read streams from here on: beginning, end, an offset, how long ago as in 10m, or @ and
    /// milliseconds since the Unix epoch. With --group: where the group begins if it does not exist yet.
    #[arg(long, value_name = "FROM", value_parser = place)]
    from: Option<GroupStart>,
    /// The only partition to read; an offset needs it where there are several.
    #[arg(long, value_name = "N", requires = "from", conflicts_with = "group")]
    partition: Option<u32>,
    /// Messages that the member of a group holds unsettled at most; as many as the group allows, if not said.
    #[arg(long, value_name = "N", requires = "group")]
    max_in_flight: Option<u32>,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so long, as in 500ms, 10s or 2m. With --count it is a failure not to have them by then.
    #[arg(long, value_name = "TIME", value_parser = patience)]
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
    let pattern = options.pattern.as_str();
    let source = match &options.group {
        Some(group) => {
            let Options { from, max_in_flight, .. } = *options;
            let name = format!("waypost sub, process {}", std::process::id());
            let wanted = MemberOptions { name, max_in_flight, from, ..MemberOptions::default() };
            let member = client.join(group, pattern, wanted).await?;
            eprintln!("a member of {group}, which takes {pattern}");
            Source::Member(member)
        }
        None => {
            let from = match options.from {
                Some(GroupStart::From(from)) => Some(from),
                Some(GroupStart::End) | None => None,
            };
            let partition = options.partition.filter(|_| from.is_some());
            let wanted = SubscriberOptions { from, partition, ..SubscriberOptions::default() };
            let subscriber = client.subscribe(pattern, wanted).await?;
            // Whoever starts it in a script can wait for this before publishing.
            eprintln!("subscribed to {pattern}");
            Source::Subscriber(subscriber)
        }
    };
    let printer = Printer::start(options.output)?;
    let taken = tokio::select! {
        taken = take(source, options, printer) => taken,
        // An interrupt is how a person ends it; a second one where its first cannot be followed.
        () = interrupted_twice() => Ok(()),
    };
    client.close().await;
    taken
}

async fn interrupted_twice() {
    // Where there are no signals, nothing interrupts.
    let _ = tokio::signal::ctrl_c().await;
    let _ = tokio::signal::ctrl_c().await;
}

/// Where messages come from.
enum Source {
    Subscriber(Subscriber),
    Member(Member),
}

impl Source {
    async fn recv(&mut self) -> Option<Result<Printed, SubscribeError>> {
        match self {
            Self::Subscriber(subscriber) => {
                subscriber.recv().await.map(|message| message.map(Printed::Message))
            }
            Self::Member(member) => member.recv().await.map(|delivery| delivery.map(Printed::Held)),
        }
    }

    /// Goes in good order, so that what was printed is not given out again.
    async fn leave(self) {
        match self {
            // It ends with its connection.
            Self::Subscriber(_) => {}
            Self::Member(member) => member.leave().await,
        }
    }
}

async fn take(mut source: Source, options: &Options, printer: Printer) -> Result<(), Failure> {
    let mut left = options.count;
    let taking = take_count(&mut source, &mut left, &printer);
    let timeout = options.timeout.unwrap_or(Duration::MAX);
    let taken = tokio::time::timeout(timeout, taking).await;
    let finish = printer.finish();
    let printed = if taken.is_ok() {
        finish.await
    } else {
        // What was handed over is printed if somebody reads it.
        tokio::time::timeout(LAST_LINES, finish).await.unwrap_or(Ok(()))
    };
    source.leave().await;
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
    source: &mut Source,
    left: &mut Option<u64>,
    printer: &Printer,
) -> Result<(), SubscribeError> {
    while *left != Some(0) {
        let received = tokio::select! {
            received = source.recv() => received,
            () = printer.failed() => break,
            _ = tokio::signal::ctrl_c() => break,
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
