//! NATS with the same payloads, as somebody would build the same with it.
//!
//! Messages carry the payload alone, without the key and the headers that ours have, and each client is a
//! current-thread process like ours. NATS holds nobody back, and drops what a slow consumer does not take;
//! so the consumer says how far it is, and the producer stays within [`clients::MOST_IN_FLIGHT`] of it.

pub(crate) mod clients;
pub(crate) mod jetstream;
mod server;

use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use server::Server;

use crate::{
    compare::peers::{NATS_SERVER, Peer},
    load::Load,
    measure::{Measured, Measurement, Meter},
    process::{Child, Part, Program},
};

const SUBJECT_IN: &str = "bench.in";
const SUBJECT_OUT: &str = "bench.out";
/// Where the consumer says how many messages it has.
const SUBJECT_TAKEN: &str = "bench.taken";

/// What each client is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    address: String,
    /// The authority to trust, in PEM, with TLS.
    ca: Option<PathBuf>,
    load: Load,
}

impl Task {
    async fn connect(&self) -> anyhow::Result<async_nats::Client> {
        let options = async_nats::ConnectOptions::new();
        let options = match &self.ca {
            Some(ca) => options.add_root_certificates(ca.clone()).require_tls(true),
            None => options,
        };
        Ok(options.connect(&self.address).await?)
    }
}

/// Waits until the server has taken what the client sent before, its subscriptions among it: the server takes
/// everything of a connection in order.
async fn settled(client: &async_nats::Client) -> anyhow::Result<()> {
    let subject = client.new_inbox();
    let mut echo = client.subscribe(subject.clone()).await?;
    client.publish(subject, Bytes::new()).await?;
    echo.next().await.context("the connection ended")?;
    Ok(())
}

/// Whether there is a server to start.
pub(crate) fn is_installed() -> bool {
    std::process::Command::new(NATS_SERVER)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The parent's side.
pub(crate) async fn measure(program: &Program, peer: Peer, load: Load) -> anyhow::Result<Measured> {
    let server = Server::start(peer).await?;
    let task = Task { address: server.address.clone(), ca: server.ca.clone(), load };
    let mut middle = vec![server.pid()?];
    let measurement = match peer {
        Peer::NatsTlsFilter | Peer::NatsFilter => {
            let filter = Child::begin(program, Part::NatsFilter, &task).await?;
            middle.push(filter.pid()?);
            let consumer = Child::begin(program, Part::NatsConsumer, &task).await?;
            let mut producer = Child::start(program, Part::NatsProducer)?;
            producer.send(&task).await?;
            let (load, consumer) = (task.load, Some(consumer));
            let measurement = Measurement {
                load,
                producer,
                consumer,
                meter: Meter::Consumer,
                middle,
                beside: None,
            };
            let measured = measurement.run().await;
            // It is needed up to here, and ends when its pipe does.
            drop(filter);
            return measured;
        }
        Peer::JetStreamLazy | Peer::JetStreamSync => {
            let mut producer = Child::start(program, Part::JetStreamProducer)?;
            producer.send(&task).await?;
            let (load, consumer) = (task.load, None);
            Measurement { load, producer, consumer, meter: Meter::Producer, middle, beside: None }
        }
    };
    measurement.run().await
}
