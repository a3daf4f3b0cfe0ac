//! Producer, filter and consumer.

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::{SUBJECT_IN, SUBJECT_OUT, SUBJECT_TAKEN, Task, settled};
use crate::{
    clock,
    measure::{self, Event, Sent},
    process::Parent,
    window::Window,
    workload::Workload,
};

/// Messages between producer and consumer, at most: below what a client of NATS buffers for a subscription.
pub(crate) const MOST_IN_FLIGHT: u64 = 1 << 15;
/// The consumer says how far it is after so many.
const TAKEN_STEP: u64 = 1 << 11;
const QUEUE_GROUP: &str = "filter";

pub(crate) async fn producer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let task: Task = parent.receive().await?;
    let client = task.connect().await?;
    let mut taken_messages = client.subscribe(SUBJECT_TAKEN).await?;
    settled(&client).await?;
    let is_paced = task.load.rate.is_some();
    let (mut sent, mut taken) = (0, 0);
    let push = async |workload: &mut Workload, due: u64| {
        while sent + u64::from(task.load.batch) > taken + MOST_IN_FLIGHT {
            let message = taken_messages.next().await.context("the connection ended")?;
            taken = std::str::from_utf8(&message.payload)?.parse()?;
        }
        for _ in 0..task.load.batch {
            let payload = Bytes::copy_from_slice(workload.next_payload(due));
            client.publish(SUBJECT_IN, payload).await?;
        }
        sent += u64::from(task.load.batch);
        if is_paced {
            client.flush().await?;
        }
        Ok(())
    };
    let messages = measure::produce(SUBJECT_IN, &task.load, &mut parent, vec![push]).await?;
    // A connection that is closed before the server has read it takes what is left in it along.
    settled(&client).await?;
    Parent::send(&Sent { messages, ..Sent::default() })
}

/// Looks at one byte of each payload, as the plugin does, and publishes it again.
pub(crate) async fn filter() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let task: Task = parent.receive().await?;
    let client = task.connect().await?;
    let mut messages = client.queue_subscribe(SUBJECT_IN, QUEUE_GROUP.to_owned()).await?;
    settled(&client).await?;
    Parent::send(&Event::Ready)?;
    while let Some(message) = messages.next().await {
        if message.payload.first() != Some(&0) {
            client.publish(SUBJECT_OUT, message.payload).await?;
        }
    }
    Ok(())
}

pub(crate) async fn consumer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let task: Task = parent.receive().await?;
    let client = task.connect().await?;
    let mut messages = client.subscribe(SUBJECT_OUT).await?;
    settled(&client).await?;
    let mut taken = 0;
    let next = async |window: &mut Window| {
        let Some(message) = messages.next().await else { return Ok(None) };
        let payload = message.payload.as_ref();
        let passed = window.take(clock::now(), 0, [payload].into_iter(), payload.len())?;
        taken += 1;
        if taken % TAKEN_STEP == 0 {
            client.publish(SUBJECT_TAKEN, taken.to_string().into()).await?;
        }
        Ok(Some(passed))
    };
    measure::consume(Window::new(&task.load, 1)?, parent, next).await
}
