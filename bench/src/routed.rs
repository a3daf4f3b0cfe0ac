//! The same messages through a router, to one subscriber or several.

use std::{collections::VecDeque, pin::pin};

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use waypost_client::{Outcome, PublisherOptions, Receipt, SubscriberOptions};

use crate::{
    clock,
    load::Load,
    measure::{self, Event, Measured, Measurement, Meter, Sent},
    process::{Child, Parent, Part, Program},
    target::Target,
    window::{Window, payloads},
    workload::Workload,
};

/// Receipts that are held at once. The publisher allows fewer batches in flight, so the oldest is
/// resolved by then.
const MOST_RECEIPTS: usize = 256;

/// What producer and consumer are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) target: Target,
    pub(crate) load: Load,
    /// Each on a connection of its own.
    pub(crate) subscribers: u16,
}

/// The parent's side; `middle` is the router's process.
pub(crate) async fn measure(
    program: &Program,
    task: Task,
    middle: Option<u32>,
) -> anyhow::Result<Measured> {
    let mut consumer = Child::start(program, Part::RoutedConsumer)?;
    consumer.send(&task).await?;
    let Event::Ready = consumer.receive().await? else {
        anyhow::bail!("the consumer is not ready");
    };
    let mut producer = Child::start(program, Part::RoutedProducer)?;
    producer.send(&task).await?;
    let meter = Meter::Consumer;
    let middle = middle.into_iter().collect();
    let consumer = Some(consumer);
    Measurement { load: task.load, producer, consumer, meter, middle }.run().await
}

/// The consumer.
pub(crate) async fn consumer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { target, load, subscribers } = parent.receive().await?;
    let (mut clients, mut streams) = (Vec::new(), Vec::new());
    for number in 0..subscribers {
        let client = target.connect("waypost-bench consumer").await?;
        let subscriber = client.subscribe(&target.topic_out, SubscriberOptions::default()).await?;
        let stream = stream::unfold(subscriber, move |mut subscriber| async move {
            let batch = subscriber.next_batch().await?;
            Some(((number, batch), subscriber))
        });
        streams.push(Box::pin(stream));
        clients.push(client);
    }
    let mut arriving = pin!(stream::select_all(streams));
    let next = async |window: &mut Window| match arriving.next().await {
        Some((subscriber, delivered)) => {
            let batch = delivered?.batch;
            let (now, bytes) = (clock::now(), batch.byte_len());
            Ok(Some(window.take(now, subscriber, payloads(&batch), bytes)?))
        }
        None => Ok(None),
    };
    measure::consume(Window::new(&load, subscribers)?, parent, next).await?;
    for client in clients {
        client.close().await;
    }
    Ok(())
}

/// The producer.
pub(crate) async fn producer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { target, load, .. } = parent.receive().await?;
    let (mut clients, mut publishers) = (Vec::new(), Vec::new());
    for _ in 0..load.connections {
        let client = target.connect("waypost-bench producer").await?;
        let publisher = client.publisher(PublisherOptions::default()).await?;
        publishers.push((publisher, Receipts::default()));
        clients.push(client);
    }
    let pushers = publishers.iter_mut().map(|(publisher, receipts)| {
        async |workload: &mut Workload, due: u64| {
            let batch = workload.next_batch(due)?;
            let count = batch.len() as u64;
            receipts.add(publisher.publish_batch(batch).await?, count).await;
            Ok(())
        }
    });
    let pushers = pushers.collect();
    let messages = measure::produce(&target.topic_in, &load, &mut parent, pushers).await?;
    let mut sent = Sent { messages, ..Sent::default() };
    for (publisher, mut receipts) in publishers {
        receipts.settle().await;
        sent.rejected += receipts.rejected;
        sent.unknown += receipts.unknown;
        publisher.close().await;
    }
    Parent::send(&sent)?;
    for client in clients {
        client.close().await;
    }
    Ok(())
}

/// What became of what was published.
#[derive(Default)]
struct Receipts {
    waiting: VecDeque<(Receipt, u64)>,
    rejected: u64,
    unknown: u64,
}

impl Receipts {
    async fn add(&mut self, receipt: Receipt, messages: u64) {
        self.waiting.push_back((receipt, messages));
        if self.waiting.len() > MOST_RECEIPTS {
            self.resolve_oldest().await;
        }
    }

    async fn resolve_oldest(&mut self) {
        if let Some((receipt, messages)) = self.waiting.pop_front() {
            match receipt.await {
                Outcome::Committed { .. } => {}
                Outcome::Rejected { code, message } => {
                    if self.rejected == 0 {
                        eprintln!("rejected: {code}: {message}");
                    }
                    self.rejected += messages;
                }
                Outcome::Unknown { reason } => {
                    if self.unknown == 0 {
                        eprintln!("unknown: {reason}");
                    }
                    self.unknown += messages;
                }
            }
        }
    }

    async fn settle(&mut self) {
        while !self.waiting.is_empty() {
            self.resolve_oldest().await;
        }
    }
}
