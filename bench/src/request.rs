//! Requests and their replies: one process asks and counts the replies, another one replies.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
use waypost_client::{
    Client, Delivered, Message, PublisherOptions, RequestError, SubscriberOptions,
};

use crate::{
    clock::{self, Pacer, Schedule},
    load::Load,
    measure::{self, Event, Measured, Measurement, Meter, Order, Sent},
    process::{Child, Parent, Part, Program},
    target::Target,
    window::Window,
    workload::Workload,
};

/// A request without a reply for so long is lost.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What both are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) target: Target,
    pub(crate) load: Load,
    /// Requests that wait for their replies at a time, at most.
    pub(crate) in_flight: usize,
}

/// The parent's side; `middle` is the router's process.
pub(crate) async fn measure(
    program: &Program,
    task: Task,
    middle: Option<u32>,
) -> anyhow::Result<Measured> {
    let consumer = Child::begin(program, Part::Responder, &task).await?;
    let mut producer = Child::start(program, Part::Requester)?;
    producer.send(&task).await?;
    let meter = Meter::Producer;
    let middle = middle.into_iter().collect();
    let consumer = Some(consumer);
    Measurement { load: task.load, producer, consumer, meter, middle, beside: None }.run().await
}

/// Replies with the request's own payload, until the parent has had enough.
pub(crate) async fn responder() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { target, .. } = parent.receive().await?;
    let client = target.connect("waypost-bench responder").await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    let mut requests = client.subscribe(&target.topic_in, SubscriberOptions::default()).await?;
    Parent::send(&Event::Ready)?;
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                // A reply that nobody waits for any more is counted by whoever asked.
                Some(request) => {
                    let request = request?;
                    drop(publisher.reply(&request, request.payload()).await?);
                }
                None => anyhow::bail!("the subscription ended"),
            },
            told = parent.receive::<Order>() => {
                told?;
                break;
            }
        }
    }
    client.close().await;
    Ok(())
}

/// Asks and counts.
pub(crate) async fn requester() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { target, load, in_flight } = parent.receive().await?;
    let mut asking = Vec::new();
    for producer in 0..load.connections {
        let client = target.connect("waypost-bench requester").await?;
        asking.push((client, Workload::new(&target.topic_in, &load, producer)?));
    }
    let mut window = Window::new(&load, 1)?;
    let mut sent = Sent::default();
    let _: Order = parent.receive().await?;
    let schedule = load.rate.map(|rate| Schedule::new(clock::now(), rate));
    let mut pacer = Pacer::new();
    let mut waiting = FuturesUnordered::new();
    let mut number = 0;
    let mut places = (0..asking.len()).cycle();
    loop {
        let due = schedule.map(|schedule| schedule.due(number));
        let has_room = waiting.len() < in_flight;
        tokio::select! {
            biased;
            told = parent.receive::<Order>() => {
                told?;
                break;
            }
            Some(reply) = waiting.next() => take(reply, &mut window, &mut sent)?,
            come = pacer.until(due.unwrap_or(0)), if has_room => {
                come?;
                number += 1;
                let place = places.next().unwrap_or(0);
                if let Some((client, workload)) = asking.get_mut(place) {
                    let payload = workload.next_payload(due.unwrap_or_else(clock::now)).to_vec();
                    waiting.push(ask(client.clone(), target.topic_in.clone(), payload));
                }
            }
        }
    }
    while let Some(reply) = waiting.next().await {
        take(reply, &mut window, &mut sent)?;
    }
    sent.messages = asking.iter().map(|(_, workload)| workload.made()).collect();
    Parent::send(&sent)?;
    let _: Sent = parent.receive().await?;
    let (counted, mut verdict) = window.result(&sent.messages)?;
    // Requests are independent, and those that are answered together are looked at in any order.
    verdict.out_of_order = 0;
    Parent::send(&Event::Result { counted, verdict })?;
    for (client, _) in asking {
        client.close().await;
    }
    Ok(())
}

async fn ask(client: Client, topic: String, payload: Vec<u8>) -> Result<Delivered, RequestError> {
    client.request(Message::new(topic, payload), TIMEOUT).await
}

fn take(
    reply: Result<Delivered, RequestError>,
    window: &mut Window,
    sent: &mut Sent,
) -> anyhow::Result<()> {
    match reply {
        Ok(reply) => {
            let payload = reply.payload();
            let passed = window.take(clock::now(), 0, [payload].into_iter(), payload.len())?;
            measure::tell(passed)
        }
        Err(error) => {
            if sent.unknown == 0 {
                eprintln!("no reply: {error}");
            }
            sent.unknown += 1;
            Ok(())
        }
    }
}
