//! Subscribing: deliveries off a stream, messages to the application, credit back to the router.
//!
//! [`window`] decides what is granted and [`conversation`] moves bytes; what stands here hands out
//! messages. A task reads what the router sends as it arrives, so an application that is slow with
//! one subscription never blocks another or a publish result; what waits for it is bounded by the
//! credit.

mod conversation;
mod delivered;
mod error;
mod reading;
mod window;

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::{Notify, mpsc, oneshot};
use waypost_protocol::{ConnectionId, Offset, Pattern};

use self::reading::Reading;
pub(crate) use self::{
    conversation::{BATCH_OVERHEAD_BYTES, FAREWELL, decode},
    window::{Amount, Window},
};
pub use self::{
    delivered::{Delivered, DeliveredBatch},
    error::SubscribeError,
};
use crate::{
    Disconnected,
    link::{Link, STREAM_WINDOW_BYTES, Session},
    request::Mailbox,
    task::Task,
};

/// How much the router may send ahead of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberOptions {
    /// Messages that are under way or not yet consumed, at most.
    pub credit_messages: u64,
    /// Their bytes in batches: at least what one message of the largest size needs, and at most
    /// 16 MiB, the window of a stream.
    pub credit_bytes: u64,
    /// Where to begin in streams; without it what comes is delivered, and nothing that came before. With it the
    /// pattern must lead to streams, nothing is missing over a lost connection, and a subscriber may be as slow
    /// as it is.
    pub from: Option<From>,
    /// The only partition to read, with `from`.
    pub partition: Option<u32>,
}

/// Where to begin in the partitions of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the oldest message that is still there.
    Beginning,
    /// At an offset, which counts in one partition.
    Offset(Offset),
    /// At what came at this time or later, in milliseconds since the Unix epoch.
    Time(u64),
}

impl Default for SubscriberOptions {
    /// 65,536 messages and 8 MiB.
    fn default() -> Self {
        Self { credit_messages: 1 << 16, credit_bytes: 8 << 20, from: None, partition: None }
    }
}

/// The messages of a pattern, as a stream.
///
/// It ends with `None` after [`Client::close`](crate::Client::close), and with one error and then
/// `None` when the router ends it or there is no connection any more. Over a lost connection it goes
/// on with the next one. On memory topics the messages of the time between are missing then;
/// [`reconnects`](Self::reconnects) says where.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    current: Option<Current>,
    reconnects: u64,
    task: Task,
    /// Keeps the connection.
    _link: Arc<Link>,
}

/// A batch of which messages are left.
#[derive(Debug)]
struct Current {
    batch: Arc<DeliveredBatch>,
    next: usize,
}

#[derive(Debug)]
enum Event {
    Batch(DeliveredBatch),
    /// The subscription stands on another stream from here on.
    Resumed,
    End(SubscribeError),
}

/// What the subscriber's handle and its task share.
#[derive(Debug)]
struct Shared {
    source: Source,
    reading: Option<Mutex<Reading>>,
    window: Mutex<Window>,
    /// For the task: there is something to grant.
    consumed: Notify,
    /// For the task: no more is wanted.
    leaving: Notify,
}

/// What is subscribed to.
#[derive(Debug)]
enum Source {
    Pattern(Pattern),
    /// The client's own inbox, which has another name on each connection.
    Inbox(Arc<Mailbox>),
}

impl Subscriber {
    pub(crate) async fn open(
        link: Arc<Link>,
        pattern: &str,
        options: SubscriberOptions,
    ) -> Result<Self, SubscribeError> {
        Self::open_source(link, Source::Pattern(Pattern::parse(pattern)?), options).await
    }

    /// Subscribes to the client's own inbox.
    pub(crate) async fn open_inbox(
        link: Arc<Link>,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self, SubscribeError> {
        Self::open_source(link, Source::Inbox(mailbox), SubscriberOptions::default()).await
    }

    async fn open_source(
        link: Arc<Link>,
        source: Source,
        options: SubscriberOptions,
    ) -> Result<Self, SubscribeError> {
        let (bytes, limit) = (options.credit_bytes, u64::from(STREAM_WINDOW_BYTES));
        if bytes > limit {
            return Err(SubscribeError::CreditTooLarge { bytes, limit });
        }
        let shared = Arc::new(Shared {
            source,
            reading: options.from.map(|from| Mutex::new(Reading::new(from, options.partition))),
            window: Mutex::new(Window::new(Amount::new(options.credit_messages, bytes))),
            consumed: Notify::new(),
            leaving: Notify::new(),
        });
        let (queue, mut events) = mpsc::channel(places(&options));
        let (ready, subscribed) = oneshot::channel();
        let task = Task::spawn(conversation::run(shared.clone(), link.follow(), queue, ready));
        if subscribed.await.is_err() {
            return Err(match events.recv().await {
                Some(Event::End(error)) => error,
                // The task was ended with its runtime.
                _ => Disconnected::Closed.into(),
            });
        }
        Ok(Self { shared, events, current: None, reconnects: 0, task, _link: link })
    }

    /// The next message; `None` at the end.
    pub async fn recv(&mut self) -> Option<Result<Delivered, SubscribeError>> {
        std::future::poll_fn(|context| self.poll_message(context)).await
    }

    /// The next batch as the router delivered it, or what [`recv`](Self::recv) has left of one;
    /// `None` at the end.
    pub async fn next_batch(&mut self) -> Option<Result<DeliveredBatch, SubscribeError>> {
        std::future::poll_fn(|context| self.poll_batch(context)).await
    }

    /// How often the subscription was taken up again on another stream, up to the last message that
    /// was handed out. Where it rises, messages may be missing.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// Ends the subscription and waits until the router knows. What was not consumed is dropped.
    pub async fn unsubscribe(mut self) {
        self.events.close();
        self.shared.leaving.notify_one();
        self.task.ended().await;
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivered, SubscribeError>>> {
        if self.current.is_none() {
            match ready!(self.poll_event(context)) {
                Some(Ok(batch)) => self.current = Some(Current { batch: Arc::new(batch), next: 0 }),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let Some(Current { batch, next }) = &mut self.current else {
            return Poll::Ready(None);
        };
        let message = Delivered::new(batch.clone(), *next);
        *next += 1;
        if *next >= batch.batch.len() {
            self.shared.consume(batch);
            self.current = None;
        }
        Poll::Ready(Some(Ok(message)))
    }

    fn poll_batch(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<DeliveredBatch, SubscribeError>>> {
        if let Some(rest) = self.current.take() {
            self.shared.consume(&rest.batch);
            if let Some(rest) = rest.into_batch() {
                return Poll::Ready(Some(Ok(rest)));
            }
        }
        let event = ready!(self.poll_event(context));
        if let Some(Ok(batch)) = &event {
            self.shared.consume(batch);
        }
        Poll::Ready(event)
    }

    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<DeliveredBatch, SubscribeError>>> {
        loop {
            match ready!(self.events.poll_recv(context)) {
                Some(Event::Batch(batch)) => return Poll::Ready(Some(Ok(batch))),
                Some(Event::Resumed) => self.reconnects += 1,
                Some(Event::End(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for Subscriber {
    type Item = Result<Delivered, SubscribeError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivered, SubscribeError>>> {
        self.poll_message(context)
    }
}

impl Current {
    fn into_batch(self) -> Option<DeliveredBatch> {
        let DeliveredBatch { batch, envelope } = &*self.batch;
        let rest = |index| u32::try_from(index).ok();
        let rest: Vec<u32> = (self.next..batch.len()).filter_map(rest).collect();
        let envelope = match envelope.base_offset {
            Some(_) => Arc::new(envelope.gather(&rest)),
            None => envelope.clone(),
        };
        Some(DeliveredBatch { batch: batch.gather(&rest)?, envelope })
    }
}

impl Source {
    /// What to subscribe to on this session.
    fn pattern(&self, session: &Session) -> String {
        match self {
            Self::Pattern(pattern) => pattern.to_string(),
            Self::Inbox(mailbox) => mailbox.inbox(connection(session)).to_string(),
        }
    }

    fn stands(&self, session: &Session) {
        if let Self::Inbox(mailbox) = self {
            mailbox.stands(connection(session));
        }
    }

    fn leaves(&self) {
        if let Self::Inbox(mailbox) = self {
            mailbox.leaves();
        }
    }

    fn lost(&self, session: &Session) {
        if let Self::Inbox(mailbox) = self {
            mailbox.lost(session.lost());
        }
    }
}

fn connection(session: &Session) -> ConnectionId {
    ConnectionId(session.welcome.connection_id)
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        // Nothing panics while it is held, and what it guards is sound at every step.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far streams were read, if they are.
    fn reading(&self) -> Option<MutexGuard<'_, Reading>> {
        let reading = self.reading.as_ref()?;
        // Nothing panics while it is held, and what it guards is sound at every step.
        Some(reading.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn consume(&self, delivered: &DeliveredBatch) {
        let due = self.window().consumed(cost(delivered));
        if due {
            self.consumed.notify_one();
        }
    }
}

/// What a delivery costs of the credit.
pub(crate) fn cost(delivered: &DeliveredBatch) -> Amount {
    Amount::new(delivered.batch.len() as u64, delivered.batch.byte_len() as u64)
}

/// Places in the queue: each delivery has a message at least, so the credit bounds them; and one
/// for the end.
fn places(options: &SubscriberOptions) -> usize {
    let messages = usize::try_from(options.credit_messages).unwrap_or(usize::MAX);
    messages.saturating_add(1).min(tokio::sync::Semaphore::MAX_PERMITS)
}
