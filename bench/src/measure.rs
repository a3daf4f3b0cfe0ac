//! One measurement, seen from each of its three sides: the parent, the producer, the consumer.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use waypost_client::Batch;

use crate::{
    cpu,
    options::Load,
    process::{Child, Parent},
    report::{CpuTimes, Event, Report, Sent},
    tally::Verdict,
    window::{Counted, Passed, Window},
    workload::Workload,
};

/// After the producer's end, nothing for so long means that nothing comes any more.
const SILENCE: Duration = Duration::from_secs(3);
/// Start, connections and end, beside the time of the load.
const AROUND: Duration = Duration::from_secs(30);

/// What the parent tells the producer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Start,
    Stop,
}

/// What the consumer found.
type Outcome = (Counted, Verdict);

/// The two children that every measurement has, both connected.
pub(crate) struct Measurement {
    pub(crate) benchmark: &'static str,
    pub(crate) load: Load,
    pub(crate) producer: Child,
    pub(crate) consumer: Child,
    /// The process of the relay or router.
    pub(crate) middle: Option<u32>,
}

impl Measurement {
    /// Lets the load run, and gives what was measured.
    pub(crate) async fn run(mut self) -> anyhow::Result<Report> {
        let load = Duration::from_secs(u64::from(self.load.warm_up) + u64::from(self.load.seconds));
        let ended = tokio::time::timeout(load + AROUND, self.conduct()).await;
        let (sent, outcome, times) = ended.context("the measurement stalls")??;
        Ok(Report::new(self.benchmark, self.load, sent, outcome, times))
    }

    async fn conduct(&mut self) -> anyhow::Result<(Sent, Outcome, (CpuTimes, CpuTimes))> {
        self.producer.send(&Order::Start).await?;
        let begin = match self.consumer.receive().await? {
            Event::Begin => self.cpu_times()?,
            other => anyhow::bail!("the consumer says {other:?} where its window begins"),
        };
        let end = match self.consumer.receive().await? {
            Event::End => self.cpu_times()?,
            other => anyhow::bail!("the consumer says {other:?} where its window ends"),
        };
        self.producer.send(&Order::Stop).await?;
        let sent: Sent = self.producer.receive().await?;
        self.consumer.send(&sent).await?;
        let outcome = match self.consumer.receive().await? {
            Event::Result { counted, verdict } => (counted, verdict),
            other => anyhow::bail!("the consumer says {other:?} where its result belongs"),
        };
        // A child that is killed leaves its connection to the router's idle timeout.
        self.producer.ended().await?;
        self.consumer.ended().await?;
        Ok((sent, outcome, (begin, end)))
    }

    fn cpu_times(&self) -> anyhow::Result<CpuTimes> {
        let middle = self.middle.map(cpu::used).transpose()?;
        Ok((cpu::used(self.producer.pid()?)?, middle, cpu::used(self.consumer.pid()?)?))
    }
}

/// The consumer's side: counts what `next` gives until everything came.
pub(crate) async fn consume(
    load: &Load,
    mut parent: Parent,
    mut next: impl AsyncFnMut() -> anyhow::Result<Option<Batch>>,
) -> anyhow::Result<()> {
    let mut window = Window::new(load);
    let count = |window: &mut Window, batch: &Batch| match window.take(Instant::now(), batch)? {
        Some(Passed::Begin) => Parent::send(&Event::Begin),
        Some(Passed::End) => Parent::send(&Event::End),
        None => Ok(()),
    };
    Parent::send(&Event::Ready)?;
    let sent = loop {
        tokio::select! {
            batch = next() => match batch? {
                Some(batch) => count(&mut window, &batch)?,
                // The end may be here before the word of it.
                None => break parent.receive::<Sent>().await?.messages,
            },
            told = parent.receive::<Sent>() => break told?.messages,
        }
    };
    while !window.is_complete(sent) {
        match tokio::time::timeout(SILENCE, next()).await {
            Ok(batch) => match batch? {
                Some(batch) => count(&mut window, &batch)?,
                None => break,
            },
            Err(_) => break,
        }
    }
    let (counted, verdict) = window.result(sent)?;
    Parent::send(&Event::Result { counted, verdict })
}

/// The producer's side: gives batches to `push` from the parent's start to its stop, and the number
/// of messages made.
pub(crate) async fn produce(
    topic: &str,
    load: &Load,
    parent: &mut Parent,
    mut push: impl AsyncFnMut(Batch) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut workload = Workload::new(topic, load)?;
    let _: Order = parent.receive().await?;
    while !parent.has_spoken()? {
        push(workload.next_batch()?).await?;
    }
    Ok(workload.made())
}
