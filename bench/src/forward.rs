//! The same messages through a running router.

use std::collections::VecDeque;

use waypost_client::{
    Client, ClientOptions, Outcome, PublisherOptions, Receipt, SubscriberOptions,
};

use crate::{
    measure::{self, Measurement},
    options::Forward,
    process::{Child, Parent},
    report::{Event, Report, Sent},
};

/// Receipts that are held at once. The publisher allows fewer batches in flight, so the oldest is
/// resolved by then.
const MOST_RECEIPTS: usize = 256;

/// The parent's side.
pub(crate) async fn measure(options: Forward) -> anyhow::Result<Report> {
    let mut consumer = Child::start("forward-consumer")?;
    consumer.send(&options).await?;
    let Event::Ready = consumer.receive().await? else {
        anyhow::bail!("the consumer is not ready");
    };
    let mut producer = Child::start("forward-producer")?;
    producer.send(&options).await?;
    let Forward { load, pid: middle, .. } = options;
    Measurement { benchmark: "forward", load, producer, consumer, middle }.run().await
}

async fn connect(options: &Forward, name: &str) -> anyhow::Result<Client> {
    let options = ClientOptions::new(&options.address).ca_file(&options.ca)?.name(name);
    Ok(Client::connect(options).await?)
}

/// The consumer.
pub(crate) async fn consumer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let options: Forward = parent.receive().await?;
    let client = connect(&options, "waypost-bench consumer").await?;
    let subscriber = client.subscribe(&options.topic_out, SubscriberOptions::default());
    let mut subscriber = subscriber.await?;
    measure::consume(&options.load, parent, async || {
        Ok(subscriber.next_batch().await.transpose()?.map(|delivered| delivered.batch))
    })
    .await?;
    subscriber.unsubscribe().await;
    client.close().await;
    Ok(())
}

/// The producer.
pub(crate) async fn producer() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let options: Forward = parent.receive().await?;
    let client = connect(&options, "waypost-bench producer").await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    let mut receipts = Receipts::default();
    let messages = measure::produce(&options.topic_in, &options.load, &mut parent, async |batch| {
        let count = batch.len() as u64;
        receipts.add(publisher.publish_batch(batch).await?, count).await;
        Ok(())
    })
    .await?;
    let (rejected, unknown) = receipts.settle().await;
    Parent::send(&Sent { messages, rejected, unknown })?;
    publisher.close().await;
    client.close().await;
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

    async fn settle(mut self) -> (u64, u64) {
        while !self.waiting.is_empty() {
            self.resolve_oldest().await;
        }
        (self.rejected, self.unknown)
    }
}
