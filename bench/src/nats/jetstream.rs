//! Publishing into a stream of JetStream; an acknowledged message counts.

use std::{future::IntoFuture as _, time::Duration};

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{SUBJECT_IN, Task};
use crate::{
    clock,
    measure::{self, Event, Sent},
    process::Parent,
    window::Window,
    workload::Workload,
};

/// Publishes without an acknowledgement, at most.
const MOST_IN_FLIGHT: usize = 2048;
/// With a sync for each message a slow disk takes its time for those before it.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn producer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let task: Task = parent.receive().await?;
    let mut context = jetstream::new(task.connect().await?);
    context.set_timeout(ACKNOWLEDGEMENT_TIMEOUT);
    let config = stream::Config {
        name: "bench".to_owned(),
        subjects: vec![SUBJECT_IN.to_owned()],
        storage: stream::StorageType::File,
        ..stream::Config::default()
    };
    context.create_stream(config).await?;
    let mut window = Window::new(&task.load, 1)?;
    let mut waiting = FuturesUnordered::new();
    let push = async |workload: &mut Workload, due: u64| {
        for _ in 0..task.load.batch {
            let payload = Bytes::copy_from_slice(workload.next_payload(due));
            let acknowledged = context.publish(SUBJECT_IN, payload.clone()).await?.into_future();
            waiting.push(async move { acknowledged.await.map(|_| payload) });
            while waiting.len() >= MOST_IN_FLIGHT
                && let Some(payload) = waiting.next().await
            {
                take(&mut window, &payload?)?;
            }
        }
        Ok(())
    };
    let messages = measure::produce(SUBJECT_IN, &task.load, &mut parent, vec![push]).await?;
    while let Some(payload) = waiting.next().await {
        take(&mut window, &payload?)?;
    }
    let sent = Sent { messages, ..Sent::default() };
    Parent::send(&sent)?;
    let _: Sent = parent.receive().await?;
    let (counted, mut verdict) = window.result(&sent.messages)?;
    // Acknowledgements that came together are looked at in any order.
    verdict.out_of_order = 0;
    Parent::send(&Event::Result { counted, verdict })
}

fn take(window: &mut Window, payload: &[u8]) -> anyhow::Result<()> {
    measure::tell(window.take(clock::now(), 0, [payload].into_iter(), payload.len())?)
}
