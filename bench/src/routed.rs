//! The same messages through a router, to subscribers or to the members of a group.

use std::{num::NonZeroU64, pin::pin, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use waypost_client::{
    Client, Delivery, From, MemberOptions, Message, PublisherOptions, SubscribeError,
    SubscriberOptions,
};

use crate::{
    clock,
    load::Load,
    measure::{self, Measured, Measurement, Meter},
    process::{Child, Parent, Part, Program},
    receipts::{Published, Receipts},
    span::Passed,
    tally::Arrival,
    target::Target,
    window::{Window, payloads},
    workload::{Stamp, Workload},
};

const GROUP: &str = "bench";
/// What a member takes at a time, of what is there.
const MOST_TAKEN: usize = 256;
/// A member that gives a message back wants it again after so long.
const NACK_DELAY: Duration = Duration::from_millis(10);

/// What producer and consumer are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) target: Target,
    pub(crate) load: Load,
    pub(crate) readers: Readers,
    /// Whether the topic's stream has several partitions, so that a batch of any keys has no place there.
    pub(crate) partitioned: bool,
    /// Every so many-th message is marked.
    pub(crate) marked: Option<NonZeroU64>,
    /// Whether the rate is that of acknowledgements.
    pub(crate) rated_by_acknowledgements: bool,
}

/// Who reads, each on a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Readers {
    /// Each gets what comes from now on.
    Subscribers(u16),
    /// One gets what streams hold, from the beginning.
    FromBeginning,
    /// They share what comes, and acknowledge it.
    Members {
        count: u16,
        /// Every so many-th message is given back once.
        given_back: Option<NonZeroU64>,
    },
}

/// The parent's side; `middle` is the router's process, and `beside` makes other traffic.
pub(crate) async fn measure(
    program: &Program,
    task: Task,
    middle: Option<u32>,
    beside: Option<Child>,
) -> anyhow::Result<Measured> {
    let consumer = Child::begin(program, Part::RoutedConsumer, &task).await?;
    let mut producer = Child::start(program, Part::RoutedProducer)?;
    producer.send(&task).await?;
    let meter = Meter::Consumer;
    let middle = middle.into_iter().collect();
    let consumer = Some(consumer);
    let measurement = Measurement { load: task.load, producer, consumer, meter, middle, beside };
    let measured = measurement.run().await?;
    Ok(Measured { rated_by_acknowledgements: task.rated_by_acknowledgements, ..measured })
}

/// The consumer.
pub(crate) async fn consumer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { target, load, readers, .. } = parent.receive().await?;
    let count = match readers {
        Readers::Subscribers(count) | Readers::Members { count, .. } => count,
        Readers::FromBeginning => 1,
    };
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(target.connect("waypost-bench consumer").await?);
    }
    match readers {
        Readers::Subscribers(_) => subscribers(&clients, None, &target, &load, parent).await?,
        Readers::FromBeginning => {
            subscribers(&clients, Some(From::Beginning), &target, &load, parent).await?;
        }
        Readers::Members { given_back, .. } => {
            members(&clients, given_back, &target, &load, parent).await?;
        }
    }
    for client in clients {
        client.close().await;
    }
    Ok(())
}

async fn subscribers(
    clients: &[Client],
    from: Option<From>,
    target: &Target,
    load: &Load,
    parent: Parent,
) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for (number, client) in (0..).zip(clients) {
        let options = SubscriberOptions { from, ..SubscriberOptions::default() };
        let subscriber = client.subscribe(&target.topic_out, options).await?;
        let stream = stream::unfold(subscriber, move |mut subscriber| async move {
            let batch = subscriber.next_batch().await?;
            Some(((number, batch), subscriber))
        });
        streams.push(Box::pin(stream));
    }
    let window = Window::new(load, u16::try_from(streams.len())?)?;
    let mut arriving = pin!(stream::select_all(streams));
    let next = async |window: &mut Window| match arriving.next().await {
        Some((subscriber, delivered)) => {
            let batch = delivered?.batch;
            let (now, bytes) = (clock::now(), batch.byte_len());
            Ok(Some(window.take(now, subscriber, payloads(&batch), bytes)?))
        }
        None => Ok(None),
    };
    measure::consume(window, parent, next).await
}

async fn members(
    clients: &[Client],
    given_back: Option<NonZeroU64>,
    target: &Target,
    load: &Load,
    parent: Parent,
) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for client in clients {
        let member = client.join(GROUP, &target.topic_out, MemberOptions::default()).await?;
        streams.push(member.ready_chunks(MOST_TAKEN));
    }
    let mut arriving = stream::select_all(streams);
    let next = async |window: &mut Window| take_some(&mut arriving, given_back, window).await;
    measure::consume(Window::shared(load)?, parent, next).await
}

/// Takes what a member has, and says of each message what becomes of it. What is given back counts when it comes
/// again.
async fn take_some(
    arriving: &mut (impl Stream<Item = Vec<Result<Delivery, SubscribeError>>> + Unpin),
    given_back: Option<NonZeroU64>,
    window: &mut Window,
) -> anyhow::Result<Option<Option<Passed>>> {
    let Some(deliveries) = arriving.next().await else { return Ok(None) };
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for delivery in deliveries {
        let delivery = delivery?;
        let is_given_back = |every: NonZeroU64| {
            Stamp::read(delivery.payload()).is_some_and(|stamp| stamp.sequence % every == 0)
        };
        if delivery.attempt() > 1 {
            again.push(delivery);
        } else if given_back.is_some_and(is_given_back) {
            delivery.nack(Some(NACK_DELAY));
        } else {
            first.push(delivery);
        }
    }
    let now = clock::now();
    let mut passed = None;
    for (deliveries, again) in [(first, false), (again, true)] {
        if deliveries.is_empty() {
            continue;
        }
        let payloads = || deliveries.iter().map(|delivery| delivery.payload());
        let bytes = payloads().map(<[u8]>::len).sum();
        passed = window.take(now, Arrival::Member { again }, payloads(), bytes)?.or(passed);
        deliveries.into_iter().for_each(Delivery::ack);
    }
    Ok(Some(passed))
}

/// The producer.
pub(crate) async fn producer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { target, load, partitioned, marked, .. } = parent.receive().await?;
    let receipts = Receipts::new(&load, if partitioned { load.batch as usize } else { 1 })?;
    let batch = load.batch as usize;
    let options = PublisherOptions { max_batch_messages: batch, ..PublisherOptions::default() };
    let (mut clients, mut publishers) = (Vec::new(), Vec::new());
    for _ in 0..load.connections {
        let client = target.connect("waypost-bench producer").await?;
        let publisher = client.publisher(options.clone()).await?;
        publishers.push((publisher, receipts.queue()));
        clients.push(client);
    }
    let pushers = publishers.iter().map(|(publisher, queue)| {
        async |workload: &mut Workload, due: u64| {
            let batch = workload.next_marked_batch(due, marked)?;
            if partitioned {
                for view in batch.iter() {
                    let message =
                        Message::new(view.topic(), view.payload()).headers(view.headers());
                    let message = message.key(view.key().unwrap_or_default());
                    let receipt = publisher.publish(message).await?;
                    queue.send(Published { receipt, due, messages: 1 }).await?;
                }
                return Ok(());
            }
            let messages = batch.len() as u64;
            let receipt = publisher.publish_batch(batch).await?;
            Ok(queue.send(Published { receipt, due, messages }).await?)
        }
    });
    let pushers = pushers.collect();
    let messages = measure::produce(&target.topic_in, &load, &mut parent, pushers).await?;
    let mut open = Vec::new();
    for (publisher, queue) in publishers {
        drop(queue);
        open.push(publisher);
    }
    let sent = receipts.settled(messages).await?;
    for publisher in open {
        publisher.close().await;
    }
    Parent::send(&sent)?;
    for client in clients {
        client.close().await;
    }
    Ok(())
}
