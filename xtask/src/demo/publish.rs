//! Publishes the input, and replaces a plugin halfway while messages flow.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, bail};
use tokio::time::Instant;
use waypost_client::{Client, Message, Outcome, Publisher, PublisherOptions, Receipt};
use waypost_tests::{Router, another_build};

use super::{
    SEQUENCE_HEADER,
    input::{Input, Line},
};

/// The plugin whose artefact is replaced.
pub(super) const REPLACED: &str = "schema-upcast";
/// The topic that the demo's route takes.
const TOPIC: &str = "quakes.raw";
/// Between two messages while the new artefact is on its way, so that traffic lasts until it runs.
const PAUSE: Duration = Duration::from_millis(10);
/// Lines that are kept for the new version.
const RESERVE: usize = 200;
/// From the new file to its version in the router.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Publishes every line; gives how many were committed, and how often a plugin was replaced.
pub(super) async fn run(
    client: &Client,
    input: &Input,
    router: &Router,
) -> anyhow::Result<(usize, usize)> {
    let options = PublisherOptions { max_batch_messages: 64, ..PublisherOptions::default() };
    let publisher = client.publisher(options).await?;
    let mut sender = Sender { publisher, waiting: VecDeque::new(), next: 0, committed: 0 };
    let half = input.lines.len() / 2;
    let (first, second) = input.lines.split_at(half);
    for line in first {
        sender.send(line).await?;
    }

    let before = router.digest_of(REPLACED).await?;
    router.put(REPLACED, &another_build(&router.artefact(REPLACED)?, 2))?;
    let reserve = RESERVE.min(second.len());
    let (under_way, rest) = second.split_at(second.len() - reserve);
    let mut under_way = under_way.iter();
    let deadline = Instant::now() + RELOAD_TIMEOUT;
    while router.digest_of(REPLACED).await? == before {
        if Instant::now() > deadline {
            bail!("the new artefact of {REPLACED} did not run within {RELOAD_TIMEOUT:?}");
        }
        if let Some(line) = under_way.next() {
            sender.send(line).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    for line in under_way.chain(rest) {
        sender.send(line).await?;
    }
    Ok((sender.finish().await?, 1))
}

struct Sender {
    publisher: Publisher,
    waiting: VecDeque<Receipt>,
    next: usize,
    committed: usize,
}

impl Sender {
    async fn send(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut message = Message::new(TOPIC, line.text.as_bytes())
            .header(SEQUENCE_HEADER, self.next.to_string())?;
        if let Some(key) = &line.key {
            message = message.key(key.as_bytes());
        }
        self.next += 1;
        let receipt = self.publisher.publish(message).await?;
        self.waiting.push_back(receipt);
        if self.waiting.len() > 1024 {
            self.settle().await?;
        }
        Ok(())
    }

    async fn settle(&mut self) -> anyhow::Result<()> {
        let receipt = self.waiting.pop_front().context("nothing is waited for")?;
        match receipt.await {
            Outcome::Committed { .. } => self.committed += 1,
            other => bail!("a message was not committed: {other:?}"),
        }
        Ok(())
    }

    async fn finish(mut self) -> anyhow::Result<usize> {
        self.publisher.flush().await;
        while !self.waiting.is_empty() {
            self.settle().await?;
        }
        self.publisher.close().await;
        Ok(self.committed)
    }
}
