//! Publishing: messages into batches, batches onto a stream, results to receipts.
//!
//! [`outbox`] decides, [`conversation`] moves bytes and time, and what stands here lets publishers
//! wait for room.

mod conversation;
mod error;
mod fit;
mod message;
mod open;
mod options;
mod outbox;
mod placement;
mod producer;
mod receipt;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use waypost_protocol::{Batch, Epoch, Limits, ProducerId};

use self::outbox::{Outbox, Resolved};
pub use self::{
    error::PublishError,
    message::Message,
    options::PublisherOptions,
    producer::ProducerIdentity,
    receipt::{Outcome, Receipt},
};
use crate::{Disconnected, link::Link, task::Task};

/// Publishes messages in order, in batches, on a stream of its own.
///
/// Dropping it ends everything that has no result yet as [`Outcome::Unknown`]; [`close`](Self::close)
/// waits for the results first.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    task: Task,
    /// Keeps the connection.
    _link: Arc<Link>,
}

/// What the publisher's handle and its task share.
#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    /// For the writer: there is something to send, or to wait for.
    work: Notify,
    /// For publishers: there may be room.
    room: Notify,
    /// For flushes: something was resolved.
    settled: Notify,
    /// For the task: it is closed, and everything is resolved.
    finished: Notify,
    /// Whether a batch was sealed since the last breath.
    breathless: AtomicBool,
}

impl Publisher {
    pub(crate) async fn open(
        link: Arc<Link>,
        options: PublisherOptions,
    ) -> Result<Self, PublishError> {
        let shared = Arc::new(Shared::new(options));
        let (ready, opened) = oneshot::channel();
        let task = Task::spawn(conversation::run(shared.clone(), link.follow(), ready));
        let publisher = Self { shared, task, _link: link };
        if opened.await.is_err() {
            publisher.shared.outbox().check_taking()?;
        }
        Ok(publisher)
    }

    /// Takes a message for publishing, awaiting room. When the future is dropped before its end, the
    /// message was not taken.
    ///
    /// # Errors
    ///
    /// A message that breaks the grammar or the limits agreed with the router; a closed publisher.
    /// Nothing was sent.
    pub async fn publish(&self, message: Message<'_>) -> Result<Receipt, PublishError> {
        self.shared.take(|outbox| outbox.push(Instant::now(), &message)).await
    }

    /// Takes a prepared batch, which is sent as it is, awaiting room. Its receipt is for all of its
    /// messages; the offset is that of the first.
    ///
    /// # Errors
    ///
    /// A batch over the limits agreed with the router, or with a topic that belongs to the router; a
    /// closed publisher. Nothing was sent.
    pub async fn publish_batch(&self, batch: Batch) -> Result<Receipt, PublishError> {
        self.shared.take(|outbox| outbox.push_batch(&batch)).await
    }

    /// Takes a message as a batch of its own, so that its result says nothing of others.
    pub(crate) async fn publish_alone(
        &self,
        message: &Message<'_>,
    ) -> Result<Receipt, PublishError> {
        let batch = self.shared.outbox().alone(message)?;
        self.publish_batch(batch).await
    }

    /// Whether it still takes messages.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.outbox().check_taking().is_ok()
    }

    /// Sends what was taken without linger, and awaits the outcome of all of it.
    pub async fn flush(&self) {
        let mark = self.shared.outbox().hurry();
        self.shared.work.notify_one();
        loop {
            let settled = self.shared.settled.notified();
            if self.shared.outbox().is_settled(mark) {
                return;
            }
            settled.await;
        }
    }

    /// Takes nothing more, and awaits the outcome of everything. While the connection is being made
    /// again this waits for it; drop the future to stop waiting.
    pub async fn close(mut self) {
        self.shared.close();
        self.task.ended().await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.fail(&Disconnected::Closed);
    }
}

impl Shared {
    fn new(options: PublisherOptions) -> Self {
        // 64 random bits keep publishers apart that nobody named.
        let unnamed = || ProducerIdentity { id: ProducerId(rand::random()), epoch: Epoch(0) };
        let identity = options.producer.unwrap_or_else(unnamed);
        Self {
            // The limits are those of the first stream once it begins.
            outbox: Mutex::new(Outbox::new(options, Limits::default(), identity)),
            work: Notify::new(),
            room: Notify::new(),
            settled: Notify::new(),
            finished: Notify::new(),
            breathless: AtomicBool::new(false),
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // Nothing panics while it is held, and what it guards is sound at every step.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `push` try until there is room.
    async fn take(
        &self,
        mut push: impl FnMut(&mut Outbox) -> Result<Option<Receipt>, PublishError>,
    ) -> Result<Receipt, PublishError> {
        // A loop of publishes that always finds room would never let the writer run on a
        // current-thread runtime. This comes before the push, for a dropped future takes nothing.
        if self.breathless.load(Ordering::Relaxed) {
            self.breathless.store(false, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
        if let Some(receipt) = self.try_take(&mut push)? {
            return Ok(receipt);
        }
        loop {
            let room = self.room.notified();
            let taken = self.try_take(&mut push).transpose();
            if let Some(taken) = taken {
                // There may be more room than this took; whoever waits next finds out.
                self.room.notify_one();
                return taken;
            }
            room.await;
        }
    }

    fn try_take(
        &self,
        push: &mut impl FnMut(&mut Outbox) -> Result<Option<Receipt>, PublishError>,
    ) -> Result<Option<Receipt>, PublishError> {
        let mut outbox = self.outbox();
        let taken = push(&mut outbox);
        let news = outbox.take_news();
        drop(outbox);
        if news.opened || news.sealed {
            self.work.notify_one();
        }
        if news.sealed {
            self.breathless.store(true, Ordering::Relaxed);
        }
        taken
    }

    fn close(&self) {
        let mut outbox = self.outbox();
        outbox.close();
        let finished = outbox.is_finished();
        drop(outbox);
        self.work.notify_one();
        self.room.notify_waiters();
        if finished {
            self.finished.notify_one();
        }
    }

    fn fail(&self, reason: &Disconnected) {
        let resolved = self.outbox().fail(reason);
        self.resolve(resolved);
        self.room.notify_waiters();
    }

    /// Tells everybody who waits.
    fn resolve(&self, resolved: impl IntoIterator<Item = Resolved>) {
        for (resolver, outcome) in resolved {
            resolver.resolve(outcome);
        }
        self.room.notify_one();
        self.settled.notify_waiters();
        if self.outbox().is_finished() {
            self.finished.notify_one();
        }
    }
}
