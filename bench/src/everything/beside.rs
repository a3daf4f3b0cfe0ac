//! What else goes through the router while it is measured, at a rate that any machine keeps up with. Each message is
//! accounted for: those of the memory route, the replies, and the dead letters.

use std::{pin::Pin, time::Duration};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use waypost_client::{
    Client, Delivered, DeliveredBatch, From, Message, Publisher, PublisherOptions, RequestError,
    Subscriber, SubscriberOptions,
};

use super::{
    DEAD_LETTERS, MEMORY_IN, MEMORY_OUT, REJECTED_END, REQUESTS,
    admin::{Admin, Tap},
};
use crate::{
    clock,
    load::Load,
    measure::{Event, Order, SILENCE},
    process::Parent,
    setup::TOPIC_IN,
    tally::{Tally, Verdict},
    target::Target,
    window::payloads,
    workload::{Stamp, Workload, key},
};

/// At each tick a batch for the memory route and a request: 6,400 and 100 a second.
const TICK: Duration = Duration::from_millis(10);
/// Every so many-th tick a message that is rejected: 20 a second.
const REJECT_TICKS: u64 = 5;
/// Every so many-th tick all metrics: once a second.
const SCRAPE_TICKS: u64 = 100;
const TAP_PER_SECOND: u32 = 100;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What this part is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) target: Target,
    pub(crate) admin: Admin,
    pub(crate) load: Load,
}

/// This part: makes the traffic until it is told to stop, and says whether everything came.
pub(crate) async fn beside() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let task: Task = parent.receive().await?;
    let client = task.target.connect("waypost-bench beside").await?;
    let mut beside = Beside::begin(client.clone(), &task, parent).await?;
    Parent::send(&Event::Ready)?;
    while !beside.is_stopped {
        let heard = beside.hear().await?;
        beside.handle(heard).await?;
    }
    while !beside.is_complete()
        && let Ok(heard) = timeout(SILENCE, beside.hear()).await
    {
        beside.handle(heard?).await?;
    }
    let verdict = beside.verdict()?;
    drop(beside);
    client.close().await;
    Parent::send(&verdict)
}

/// Numbered messages of one kind, and which of them came.
struct Account {
    workload: Workload,
    tally: Tally,
}

impl Account {
    fn new(topic: &str, load: &Load) -> anyhow::Result<Self> {
        // No message of these may be taken for one that is measured.
        Ok(Self { workload: Workload::new(topic, load, u16::MAX)?, tally: Tally::default() })
    }

    fn next_payload(&mut self) -> Vec<u8> {
        self.workload.next_payload(clock::now()).to_vec()
    }

    fn take(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let stamp = Stamp::read(payload).context("a message that is none of the load's")?;
        self.tally.take(stamp.sequence);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.tally.is_complete(self.workload.made())
    }

    fn verdict(&self, what: &str) -> Verdict {
        let verdict = self.tally.verdict(self.workload.made());
        if verdict.lost + verdict.duplicated > 0 {
            eprintln!(
                "{what}: {} of {} lost, {} duplicated",
                verdict.lost,
                self.workload.made(),
                verdict.duplicated
            );
        }
        verdict
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<Delivered, RequestError>>>>;
type Scraped = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

struct Beside {
    client: Client,
    admin: Admin,
    parent: Parent,
    publisher: Publisher,
    ticks: Interval,
    tick: u64,
    memory: Account,
    out: Subscriber,
    asked: Account,
    replies: FuturesUnordered<Asked>,
    requests: Subscriber,
    rejected: Account,
    letters: Subscriber,
    scraping: FuturesUnordered<Scraped>,
    scrapes: u64,
    tap: Tap,
    seen: u64,
    is_stopped: bool,
}

/// What happened next.
enum Heard {
    Tick,
    Out(DeliveredBatch),
    Request(Delivered),
    Reply(Delivered),
    Letter(Delivered),
    Scraped,
    Seen,
    Stop,
}

impl Beside {
    async fn begin(client: Client, task: &Task, parent: Parent) -> anyhow::Result<Self> {
        let Task { admin, load, .. } = task;
        let subscribe = async |topic: &str, from| {
            let options = SubscriberOptions { from, ..SubscriberOptions::default() };
            client.subscribe(topic, options).await
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Self {
            admin: admin.clone(),
            parent,
            publisher: client.publisher(PublisherOptions::default()).await?,
            ticks,
            tick: 0,
            memory: Account::new(MEMORY_IN, load)?,
            out: subscribe(MEMORY_OUT, None).await?,
            asked: Account::new(REQUESTS, load)?,
            replies: FuturesUnordered::new(),
            requests: subscribe(REQUESTS, None).await?,
            rejected: Account::new(TOPIC_IN, load)?,
            letters: subscribe(DEAD_LETTERS, Some(From::Beginning)).await?,
            scraping: FuturesUnordered::new(),
            scrapes: 0,
            tap: admin.tap(TOPIC_IN, TAP_PER_SECOND).await?,
            seen: 0,
            is_stopped: false,
            client,
        })
    }

    /// Waits for what happens next. Dropping the future loses nothing.
    async fn hear(&mut self) -> anyhow::Result<Heard> {
        const ENDED: &str = "a subscription ended";
        tokio::select! {
            told = self.parent.receive::<Order>(), if !self.is_stopped => told.map(|_| Heard::Stop),
            _ = self.ticks.tick(), if !self.is_stopped => Ok(Heard::Tick),
            batch = self.out.next_batch() => Ok(Heard::Out(batch.context(ENDED)??)),
            request = self.requests.recv() => Ok(Heard::Request(request.context(ENDED)??)),
            letter = self.letters.recv() => Ok(Heard::Letter(letter.context(ENDED)??)),
            Some(reply) = self.replies.next() => Ok(Heard::Reply(reply.context("a request")?)),
            Some(scraped) = self.scraping.next() => scraped.map(|()| Heard::Scraped),
            seen = self.tap.next() => seen.map(|()| Heard::Seen),
        }
    }

    async fn handle(&mut self, heard: Heard) -> anyhow::Result<()> {
        match heard {
            Heard::Tick => self.make().await,
            Heard::Out(delivered) => {
                payloads(&delivered.batch).try_for_each(|payload| self.memory.take(payload))
            }
            // Whether the requester was still there is seen by its account.
            Heard::Request(request) => {
                drop(self.publisher.reply(&request, request.payload()).await?);
                Ok(())
            }
            Heard::Reply(reply) => self.asked.take(reply.payload()),
            Heard::Letter(letter) => self.rejected.take(letter.payload()),
            Heard::Scraped => {
                self.scrapes += 1;
                Ok(())
            }
            Heard::Seen => {
                self.seen += 1;
                Ok(())
            }
            Heard::Stop => {
                self.is_stopped = true;
                Ok(())
            }
        }
    }

    /// What is due at a tick. What became of it is seen where it comes out, so that receipts are not awaited.
    async fn make(&mut self) -> anyhow::Result<()> {
        let batch = self.memory.workload.next_batch(clock::now())?;
        drop(self.publisher.publish_batch(batch).await?);

        let (client, payload) = (self.client.clone(), self.asked.next_payload());
        self.replies.push(Box::pin(async move {
            client.request(Message::new(REQUESTS, &payload), REQUEST_TIMEOUT).await
        }));

        if self.tick.is_multiple_of(REJECT_TICKS) {
            let key = key(self.rejected.workload.made());
            let mut payload = self.rejected.next_payload();
            payload.truncate(payload.len() - REJECTED_END.len());
            payload.extend_from_slice(REJECTED_END.as_bytes());
            drop(self.publisher.publish(Message::new(TOPIC_IN, &payload).key(&key)).await?);
        }
        if self.tick.is_multiple_of(SCRAPE_TICKS) && self.scraping.is_empty() {
            let admin = self.admin.clone();
            self.scraping.push(Box::pin(async move { admin.scrape().await }));
        }
        self.tick += 1;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        [&self.memory, &self.asked, &self.rejected].iter().all(|account| account.is_complete())
    }

    /// Of all messages together.
    fn verdict(&self) -> anyhow::Result<Verdict> {
        ensure!(self.seen > 0, "whoever watched saw no message");
        ensure!(self.scrapes > 0, "nobody had metrics");
        // Replies come as they are ready, and dead letters of two partitions have no order among them.
        let unordered = |verdict| Verdict { out_of_order: 0, ..verdict };
        let memory = self.memory.verdict("the memory route beside");
        let asked = unordered(self.asked.verdict("requests beside"));
        let rejected = unordered(self.rejected.verdict("dead letters beside"));
        Ok(memory.and(asked).and(rejected))
    }
}
