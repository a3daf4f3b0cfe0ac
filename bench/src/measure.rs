//! One measurement, seen from each of its three sides: the parent, the producer, the consumer.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    clock::{self, Pacer, Schedule},
    load::Load,
    process::{Child, Parent},
    span::{Counted, Passed},
    tally::Verdict,
    usage::{self, Machine},
    window::Window,
    workload::Workload,
};

/// After the producer's end, nothing for so long means that nothing comes any more.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);
/// Start, connections and end, beside the time of the load; and what a route over a stream is behind by then, as nobody
/// who publishes to a stream waits for it.
const AROUND: Duration = Duration::from_secs(60);

/// What the parent tells whoever produces.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Start,
    Stop,
}

/// What whoever counts tells the parent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// It is ready for messages.
    Ready,
    /// The window opened.
    Begin,
    /// The window closed.
    End,
    /// Everything came, or nothing comes any more.
    Result { counted: Counted, verdict: Verdict },
}

/// What the producer tells the parent at its end.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// By each connection.
    pub(crate) messages: Vec<u64>,
    /// Messages that the router has certainly not stored.
    pub(crate) rejected: u64,
    /// Messages without a result.
    pub(crate) unknown: u64,
    /// Acknowledgements in a span of their own; latency counts from when a message was due.
    pub(crate) acknowledged: Option<Counted>,
}

/// One measurement's outcome.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) counted: Counted,
    pub(crate) verdict: Verdict,
    pub(crate) sent: Sent,
    pub(crate) usage: Usage,
    /// Whether the rate is that of acknowledgements, rather than that of deliveries.
    pub(crate) rated_by_acknowledgements: bool,
}

/// What was used within the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) producer_cpu_seconds: f64,
    /// Of the relay or the router; the router's only when its process is known.
    pub(crate) middle_cpu_seconds: Option<f64>,
    /// With what made other traffic meanwhile.
    pub(crate) consumer_cpu_seconds: f64,
    /// Of everything else on the machine: the more, the less the figures say.
    pub(crate) other_cpu_seconds: f64,
    /// Time of the processors that a hypervisor gave to others.
    pub(crate) stolen_seconds: f64,
    /// The most memory that the relay or the router had resident since it started.
    pub(crate) middle_peak_bytes: Option<u64>,
}

/// Which of the two children counts what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meter {
    Consumer,
    /// The producer, to which everything comes back.
    Producer,
}

/// The children of a measurement, all connected.
pub(crate) struct Measurement {
    pub(crate) load: Load,
    pub(crate) producer: Child,
    /// Missing where nothing is delivered.
    pub(crate) consumer: Option<Child>,
    pub(crate) meter: Meter,
    /// The processes between them: the relay, the router, or a broker and a filter; none that is known.
    pub(crate) middle: Vec<u32>,
    /// Who makes other traffic meanwhile.
    pub(crate) beside: Option<Child>,
}

impl Measurement {
    /// Lets the load run, and gives what was measured.
    pub(crate) async fn run(mut self) -> anyhow::Result<Measured> {
        let load = Duration::from_secs_f64(self.load.warm_up + self.load.seconds);
        let ended = tokio::time::timeout(load + AROUND, self.conduct()).await;
        ended.context("the measurement stalled")?
    }

    async fn conduct(&mut self) -> anyhow::Result<Measured> {
        self.producer.send(&Order::Start).await?;
        let begin = match self.meter()?.receive().await? {
            Event::Begin => Snapshot::take(self)?,
            other => anyhow::bail!("{other:?} is told where the window begins"),
        };
        let end = match self.meter()?.receive().await? {
            Event::End => Snapshot::take(self)?,
            other => anyhow::bail!("{other:?} is told where the window ends"),
        };
        let mut usage = end.since(&begin);
        usage.middle_peak_bytes = sum(&self.middle, usage::peak_memory)?;
        self.producer.send(&Order::Stop).await?;
        let sent: Sent = self.producer.receive().await?;
        self.meter()?.send(&sent).await?;
        let (counted, verdict) = match self.meter()?.receive().await? {
            Event::Result { counted, verdict } => (counted, verdict),
            other => anyhow::bail!("{other:?} is told where the result belongs"),
        };
        // A child that is killed leaves its connection to the router's idle timeout.
        self.producer.ended().await?;
        if let Some(consumer) = &mut self.consumer {
            if self.meter == Meter::Producer {
                consumer.send(&Order::Stop).await?;
            }
            consumer.ended().await?;
        }
        let verdict = match &mut self.beside {
            Some(beside) => {
                beside.send(&Order::Stop).await?;
                let other: Verdict = beside.receive().await?;
                beside.ended().await?;
                verdict.and(other)
            }
            None => verdict,
        };
        Ok(Measured { counted, verdict, sent, usage, rated_by_acknowledgements: false })
    }

    fn meter(&mut self) -> anyhow::Result<&mut Child> {
        match self.meter {
            Meter::Consumer => self.consumer.as_mut().context("a consumer that counts"),
            Meter::Producer => Ok(&mut self.producer),
        }
    }
}

/// A figure of several processes, if there are any.
fn sum<T: std::iter::Sum>(
    pids: &[u32],
    figure: impl Fn(u32) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let sum = pids.iter().map(|pid| figure(*pid)).sum::<anyhow::Result<T>>()?;
    Ok((!pids.is_empty()).then_some(sum))
}

/// What was used up to a moment.
struct Snapshot {
    producer: Duration,
    middle: Option<Duration>,
    consumer: Duration,
    machine: Machine,
}

impl Snapshot {
    fn take(of: &Measurement) -> anyhow::Result<Self> {
        Ok(Self {
            producer: usage::cpu_time(of.producer.pid()?)?,
            middle: sum(&of.middle, usage::cpu_time)?,
            consumer: match &of.consumer {
                Some(consumer) => usage::cpu_time(consumer.pid()?)?,
                None => Duration::ZERO,
            } + match &of.beside {
                Some(beside) => usage::cpu_time(beside.pid()?)?,
                None => Duration::ZERO,
            },
            machine: Machine::now()?,
        })
    }

    fn since(&self, begin: &Self) -> Usage {
        let used = |begin: Duration, end: Duration| end.saturating_sub(begin).as_secs_f64();
        let producer = used(begin.producer, self.producer);
        let middle = begin.middle.zip(self.middle).map(|(begin, end)| used(begin, end));
        let consumer = used(begin.consumer, self.consumer);
        let busy = used(begin.machine.busy, self.machine.busy);
        Usage {
            producer_cpu_seconds: producer,
            middle_cpu_seconds: middle,
            consumer_cpu_seconds: consumer,
            // The counts are in hundredths and not of one moment.
            other_cpu_seconds: (busy - producer - middle.unwrap_or(0.0) - consumer).max(0.0),
            stolen_seconds: used(begin.machine.stolen, self.machine.stolen),
            middle_peak_bytes: None,
        }
    }
}

/// Tells the parent of a border that was passed.
pub(crate) fn tell(passed: Option<Passed>) -> anyhow::Result<()> {
    match passed {
        Some(Passed::Begin) => Parent::send(&Event::Begin),
        Some(Passed::End) => Parent::send(&Event::End),
        None => Ok(()),
    }
}

/// The consumer's side: lets `next` count what arrives until everything came. It gives which border
/// that passed, or `None` when there is no more; dropping its future loses nothing.
pub(crate) async fn consume(
    mut window: Window,
    mut parent: Parent,
    mut next: impl AsyncFnMut(&mut Window) -> anyhow::Result<Option<Option<Passed>>>,
) -> anyhow::Result<()> {
    Parent::send(&Event::Ready)?;
    let sent: Sent = loop {
        tokio::select! {
            arrived = next(&mut window) => match arrived? {
                Some(passed) => tell(passed)?,
                // The end may be here before the word of it.
                None => break parent.receive().await?,
            },
            told = parent.receive() => break told?,
        }
    };
    while !window.is_complete(&sent.messages) {
        match tokio::time::timeout(SILENCE, next(&mut window)).await {
            Ok(arrived) => match arrived? {
                Some(passed) => tell(passed)?,
                None => break,
            },
            Err(_) => break,
        }
    }
    conclude(&window, &sent)
}

/// Tells the parent what was counted.
fn conclude(window: &Window, sent: &Sent) -> anyhow::Result<()> {
    let (counted, verdict) = window.result(&sent.messages)?;
    Parent::send(&Event::Result { counted, verdict })
}

/// The producer's side: lets each of `pushers`, which are its connections, send the next batch of its
/// workload from the parent's start to its stop, and gives the number of messages that each sent. A pusher
/// is told when its batch was due.
pub(crate) async fn produce<P>(
    topic: &str,
    load: &Load,
    parent: &mut Parent,
    pushers: Vec<P>,
) -> anyhow::Result<Vec<u64>>
where
    P: AsyncFnMut(&mut Workload, u64) -> anyhow::Result<()>,
{
    let workloads = (0..).zip(&pushers).map(|(producer, _)| Workload::new(topic, load, producer));
    let mut workloads = workloads.collect::<anyhow::Result<Vec<_>>>()?;
    let _: Order = parent.receive().await?;
    let (stop, stopped) = watch::channel(false);
    let stopping = async {
        let _: Order = parent.receive().await?;
        stop.send_replace(true);
        Ok(())
    };
    let pushing = workloads.iter_mut().zip(pushers);
    let pushing = pushing.map(|(workload, pusher)| push(workload, load, pusher, stopped.clone()));
    tokio::try_join!(try_join_all(pushing), stopping)?;
    Ok(workloads.iter().map(Workload::made).collect())
}

async fn push(
    workload: &mut Workload,
    load: &Load,
    mut pusher: impl AsyncFnMut(&mut Workload, u64) -> anyhow::Result<()>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let schedule = load.batches_a_second().map(|rate| Schedule::new(clock::now(), rate));
    let mut pace = schedule.map(|schedule| (schedule, Pacer::new()));
    for number in 0.. {
        let due = match &mut pace {
            Some((schedule, pacer)) => {
                let due = schedule.due(number);
                tokio::select! {
                    come = pacer.until(due) => come?,
                    _ = stopped.changed() => {}
                }
                due
            }
            None => clock::now(),
        };
        if *stopped.borrow() {
            break;
        }
        pusher(workload, due).await?;
    }
    Ok(())
}
