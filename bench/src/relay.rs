//! The bare relay: what forwarding these bytes costs when nothing is decided about them.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use waypost_client::{Batch, Limits};

use crate::{
    clock,
    framing::{self, Frames},
    load::Load,
    measure::{self, Measured, Measurement, Meter, Sent},
    process::{Child, Parent, Part, Program},
    transport::{self, Certificate},
    window::{Window, payloads},
    workload::Workload,
};

const TOPIC: &str = "bench.relay";

/// What producer and consumer are told: where the relay is, and what to do there.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    address: SocketAddr,
    certificate: Certificate,
    load: Load,
}

/// The parent's side.
pub(crate) async fn measure(program: &Program, load: Load) -> anyhow::Result<Measured> {
    anyhow::ensure!(load.connections == 1, "the relay takes one connection that publishes");
    let certificate = Certificate::generate()?;
    let mut node = Child::start(program, Part::RelayNode)?;
    node.send(&certificate).await?;
    let address = node.receive().await?;

    let task = Task { address, certificate, load };
    // The relay takes its first connection for the consumer's.
    let consumer = Child::begin(program, Part::RelayConsumer, &task).await?;
    let mut producer = Child::start(program, Part::RelayProducer)?;
    producer.send(&task).await?;

    let middle = vec![node.pid()?];
    let meter = Meter::Consumer;
    Measurement { load: task.load, producer, consumer: Some(consumer), meter, middle, beside: None }
        .run()
        .await
}

/// The relay: forwards what comes on the second connection to the first.
pub(crate) async fn node() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let endpoint = transport::listen(&parent.receive().await?)?;
    Parent::send(&endpoint.local_addr()?)?;
    let accept = async || -> anyhow::Result<_> {
        let connection = endpoint.accept().await.context("the endpoint is closed")?.await?;
        let (send, receive) = connection.accept_bi().await?;
        Ok((connection, send, Frames::new(receive)))
    };
    let (_consumer, mut to, mut greeting) = accept().await?;
    greeting.next().await?.context("the consumer's greeting")?;
    let (_producer, _, mut from) = accept().await?;
    from.next().await?.context("the producer's greeting")?;
    let forward = async {
        while let Some(frame) = from.next().await? {
            to.write_all_chunks(&mut [frame]).await?;
        }
        to.finish()?;
        // The consumer leaves when it has everything.
        let _ = to.stopped().await;
        anyhow::Ok(())
    };
    tokio::select! {
        forwarded = forward => forwarded,
        // It says nothing more, so this is its end.
        ended = parent.receive::<()>() => ended,
    }
}

/// The consumer.
pub(crate) async fn consumer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { address, certificate, load } = parent.receive().await?;
    let (endpoint, connection) = transport::connect(address, &certificate).await?;
    let (mut send, receive) = connection.open_bi().await?;
    // A stream is seen by the other side with its first bytes.
    framing::write(&mut send, bytes::Bytes::new()).await?;
    let mut frames = Frames::new(receive);
    let next = async |window: &mut Window| match frames.next().await? {
        // A subscriber validates what it is handed, and so does this.
        Some(frame) => {
            let batch = Batch::decode(framing::body(frame), &Limits::default())?;
            let passed = window.take(clock::now(), 0, payloads(&batch), batch.byte_len())?;
            Ok(Some(passed))
        }
        None => Ok(None),
    };
    measure::consume(Window::new(&load, 1)?, parent, next).await?;
    connection.close(0_u32.into(), b"done");
    endpoint.wait_idle().await;
    Ok(())
}

/// The producer.
pub(crate) async fn producer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { address, certificate, load } = parent.receive().await?;
    let (_endpoint, connection) = transport::connect(address, &certificate).await?;
    let (mut send, _receive) = connection.open_bi().await?;
    framing::write(&mut send, bytes::Bytes::new()).await?;
    let push = async |workload: &mut Workload, due: u64| {
        let batch = workload.next_batch(due)?;
        framing::write(&mut send, batch.as_bytes().clone()).await?;
        // While the window has room a write never waits, and the connection would not get to send.
        tokio::task::yield_now().await;
        Ok(())
    };
    let messages = measure::produce(TOPIC, &load, &mut parent, vec![push]).await?;
    send.finish()?;
    send.stopped().await?;
    Parent::send(&Sent { messages, ..Sent::default() })
}
