//! The producer, a process that may be killed at any moment and goes on as the same producer in its next life.
//!
//! It writes down each message before it sends it. A new life opens the next epoch, which fences the life before:
//! once it has stored a marker of each key, nothing of older lives comes behind the markers. It reads up to them what
//! was stored of messages whose result it never saw, and sends the others again, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, stream::select_all};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{io::AsyncReadExt as _, task::JoinSet};
use waypost_client::{
    Client, Epoch, From, Message, Offset, Outcome, ProducerId, ProducerIdentity, Publisher,
    PublisherOptions, Receipt, SubscriberOptions,
};

use super::{
    application::{KEYS, MARKERS, ORDERS, Order, PARTITIONS, PUBLISHED, key_of},
    journal::{self, Entry, Journal},
    workers::connect,
};

const PRODUCER: ProducerId = ProducerId(7);
/// Messages that are sent and have no result, at most.
const OPEN: usize = 256;

/// What a producer is told.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The router's address.
    pub address: SocketAddr,
    /// Whom to trust.
    pub ca: PathBuf,
    /// What it writes down.
    pub journal: PathBuf,
    /// What decides its load.
    pub seed: u64,
}

/// Publishes until standard input ends, and then waits for all results. Says `acked` on standard output for each
/// message that is known to be stored.
///
/// # Errors
///
/// The router refuses something, or the journal cannot be written.
pub async fn produce(orders: Orders) -> anyhow::Result<()> {
    let earlier = Journal::load(&orders.journal)?;
    let journal = Arc::new(journal::open(&orders.journal)?);
    let life = earlier.lives + 1;
    Entry::Life(life).append(&journal)?;
    let client = connect(orders.address, &orders.ca).await?;
    let identity = ProducerIdentity { id: PRODUCER, epoch: Epoch(life) };
    let options = PublisherOptions {
        max_batch_messages: 8,
        producer: Some(identity),
        ..PublisherOptions::default()
    };
    let publisher = client.publisher(options).await?;
    let mut sending = Sending { publisher, journal, results: JoinSet::new() };
    if life > 1 {
        sending.settle(&client, &earlier, life).await?;
    }
    let mut load = StdRng::seed_from_u64(orders.seed.wrapping_add(life));
    let (mut next, mut input) = (earlier.sent.last().map_or(1, |last| last + 1), [0; 1]);
    let mut stdin = tokio::io::stdin();
    let told = stdin.read(&mut input);
    tokio::pin!(told);
    loop {
        for _ in 0..load.random_range(1..=16) {
            sending.send(next).await?;
            next += 1;
        }
        let pause = tokio::time::sleep(Duration::from_micros(load.random_range(0..=20_000)));
        tokio::select! {
            _ = &mut told => break,
            () = pause => {}
        }
    }
    sending.finish().await?;
    client.close().await;
    Ok(())
}

struct Sending {
    publisher: Publisher,
    journal: Arc<File>,
    results: JoinSet<anyhow::Result<()>>,
}

impl Sending {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        while self.results.len() >= OPEN
            && let Some(result) = self.results.join_next().await
        {
            result??;
        }
        Entry::Sent(number).append(&self.journal)?;
        let payload = serde_json::to_vec(&Order { number, worked: false })?;
        let receipt = self.publish(ORDERS, key_of(number), payload).await?;
        let journal = self.journal.clone();
        self.results.spawn(async move {
            committed(receipt).await?;
            acked(number, &journal)
        });
        Ok(())
    }

    async fn publish(&self, topic: &str, key: u64, payload: Vec<u8>) -> anyhow::Result<Receipt> {
        let message = Message::new(topic, payload).key(key.to_be_bytes().to_vec());
        Ok(self.publisher.publish(message).await?)
    }

    /// Finds out what was stored of what earlier lives left open, and sends the rest again.
    async fn settle(
        &mut self,
        client: &Client,
        earlier: &Journal,
        life: u64,
    ) -> anyhow::Result<()> {
        let mut markers = JoinSet::new();
        for key in 0..KEYS {
            let receipt = self.publish(MARKERS, key, life.to_string().into_bytes()).await?;
            markers.spawn(committed(receipt));
        }
        while let Some(stored) = markers.join_next().await {
            stored??;
        }
        let mut open = earlier.open();
        let (stored, read) = read(client, earlier, &open, life).await?;
        for number in stored {
            open.remove(&number);
            acked(number, &self.journal)?;
        }
        for number in open {
            self.send(number).await?;
        }
        // The next life begins to read where this one began: what it sent again stands behind that.
        for (partition, before) in read {
            Entry::Read { partition, before }.append(&self.journal)?;
        }
        Ok(())
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        self.publisher.close().await;
        while let Some(result) = self.results.join_next().await {
            result??;
        }
        Ok(())
    }
}

fn acked(number: u64, journal: &File) -> anyhow::Result<()> {
    Entry::Acked(number).append(journal)?;
    println!("acked");
    Ok(())
}

async fn committed(receipt: Receipt) -> anyhow::Result<()> {
    match receipt.await {
        Outcome::Committed { .. } => Ok(()),
        other => bail!("a message was not stored: {other:?}"),
    }
}

/// Reads each partition from where an earlier life left off up to the markers of this one. Gives those of the open
/// messages that are there, and where the first marker stands in each partition.
async fn read(
    client: &Client,
    earlier: &Journal,
    open: &BTreeSet<u64>,
    life: u64,
) -> anyhow::Result<(BTreeSet<u64>, BTreeMap<u32, u64>)> {
    let mut readers = Vec::new();
    for partition in 0..PARTITIONS {
        let from = From::Offset(Offset(earlier.read.get(&partition).copied().unwrap_or(0)));
        let options = SubscriberOptions {
            from: Some(from),
            partition: Some(partition),
            ..SubscriberOptions::default()
        };
        readers.push(client.subscribe(PUBLISHED, options).await?);
    }
    let mut messages = select_all(readers);
    let (mut stored, mut marked, mut read) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let own = life.to_string().into_bytes();
    while (marked.len() as u64) < KEYS {
        let message = messages.next().await.context("the streams ended")??;
        if message.topic() == MARKERS {
            if message.payload() == own {
                marked.insert(message.key().unwrap_or_default().to_vec());
                let offset = message.offset().context("a stream gives offsets")?;
                read.entry(message.envelope().partition).or_insert(offset.0);
            }
            continue;
        }
        let Order { number, .. } = serde_json::from_slice(message.payload())?;
        if open.contains(&number) {
            let is_behind = marked.contains(message.key().unwrap_or_default());
            ensure!(!is_behind, "{number} of a life that was fenced stands behind the markers");
            stored.insert(number);
        }
    }
    Ok((stored, read))
}
