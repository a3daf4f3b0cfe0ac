//! Groups: being one of several that share streams or topics, each message going to one of them until it is done.
//!
//! [`outbox`] decides what is said when, and [`conversation`] moves bytes. Over a lost connection the member joins
//! again by itself; what it held by then is given out anew, to it or to another.

mod conversation;
mod delivery;
mod error;
mod outbox;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use waypost_protocol::{
    Pattern,
    frame::{Extend, Lease, Settle, Verb},
};

pub use self::{delivery::Delivery, error::SettleError};
use self::{delivery::Held, outbox::Outbox};
use crate::{
    Delivered, DeliveredBatch, Disconnected, From, SubscribeError,
    link::{Link, STREAM_WINDOW_BYTES},
    subscribe::{Amount, Window, cost},
    task::Task,
};

/// How a member takes part in its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOptions {
    /// What it is called in lists and logs.
    pub name: String,
    /// Messages that it holds unsettled at most; without it as many as the group allows, which may allow less.
    pub max_in_flight: Option<u32>,
    /// Bytes of batches that are under way or not yet handed out, at most 16 MiB.
    pub credit_bytes: u64,
    /// Where the group begins if it does not exist yet; at the beginning by default.
    pub from: Option<GroupStart>,
}

/// Where a group begins that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupStart {
    /// At a place in its streams.
    From(From),
    /// Behind everything that is there.
    End,
}

impl Default for MemberOptions {
    fn default() -> Self {
        let (name, max_in_flight, from) = (String::new(), None, None);
        Self { name, max_in_flight, credit_bytes: 8 << 20, from }
    }
}

/// A member of a group: the messages that it is given, as a stream.
///
/// It ends with `None` after [`Client::close`](crate::Client::close), and with one error and then `None` when the
/// router ends it or there is no connection any more.
#[derive(Debug)]
pub struct Member {
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    current: Option<Current>,
    task: Task,
    /// Keeps the connection.
    _link: Arc<Link>,
}

/// A delivery of which messages are left.
#[derive(Debug)]
struct Current {
    given: Given,
    next: usize,
}

/// A delivery as it came.
#[derive(Debug)]
struct Given {
    batch: Arc<DeliveredBatch>,
    lease: Lease,
    stream: u64,
}

#[derive(Debug)]
enum Event {
    Given(Given),
    End(SubscribeError),
}

type Told = oneshot::Sender<Result<(), SettleError>>;

/// What the member's handle, its deliveries and its task share.
#[derive(Debug)]
struct Shared {
    group: String,
    pattern: Pattern,
    options: MemberOptions,
    window: Mutex<Window>,
    state: Mutex<State>,
    /// For the task: there is something to grant.
    consumed: Notify,
    /// For the task: there is something to say.
    said: Notify,
    /// For the task: no more is wanted.
    leaving: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Which stream stands, counted from one.
    stream: u64,
    outbox: Outbox<Told>,
    leases: HashMap<u64, Lent>,
    /// How long a lease holds.
    duration: Duration,
    /// When the application took or settled something last.
    active: Option<Instant>,
    /// Whether it asked for a message and there was none.
    waits: bool,
}

/// A lease as far as this side knows.
#[derive(Debug, Clone, Copy)]
struct Lent {
    /// How many of its messages are not settled, as far as each was settled by itself.
    left: usize,
    /// How many of those nobody holds any more.
    abandoned: usize,
    /// When it ends.
    ends: Instant,
}

impl Member {
    pub(crate) async fn join(
        link: Arc<Link>,
        group: &str,
        pattern: &str,
        options: MemberOptions,
    ) -> Result<Self, SubscribeError> {
        let pattern = Pattern::parse(pattern)?;
        let (bytes, limit) = (options.credit_bytes, u64::from(STREAM_WINDOW_BYTES));
        if bytes > limit {
            return Err(SubscribeError::CreditTooLarge { bytes, limit });
        }
        // What the router may send is bounded by what the member may hold.
        let window = Window::new(Amount::new(CREDIT_MESSAGES, bytes));
        let shared = Arc::new(Shared {
            group: group.to_owned(),
            pattern,
            options,
            window: Mutex::new(window),
            state: Mutex::default(),
            consumed: Notify::new(),
            said: Notify::new(),
            leaving: Notify::new(),
        });
        let (queue, mut events) = mpsc::channel(QUEUE);
        let (ready, joined) = oneshot::channel();
        let task = Task::spawn(conversation::run(shared.clone(), link.follow(), queue, ready));
        if joined.await.is_err() {
            return Err(match events.recv().await {
                Some(Event::End(error)) => error,
                // The task was ended with its runtime.
                _ => Disconnected::Closed.into(),
            });
        }
        Ok(Self { shared, events, current: None, task, _link: link })
    }

    /// The next message; `None` at the end.
    pub async fn recv(&mut self) -> Option<Result<Delivery, SubscribeError>> {
        std::future::poll_fn(|context| self.poll_delivery(context)).await
    }

    /// Leaves the group in good order: what was said is said, and what is not settled goes to others and does not
    /// count as failed.
    pub async fn leave(mut self) {
        self.events.close();
        self.shared.leaving.notify_one();
        self.task.ended().await;
    }

    fn poll_delivery(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery, SubscribeError>>> {
        loop {
            if let Some(current) = &mut self.current {
                let delivery = self.shared.hand_out(current);
                if current.next >= current.given.batch.batch.len() {
                    self.shared.consume(&current.given.batch);
                    self.current = None;
                }
                if let Some(delivery) = delivery {
                    return Poll::Ready(Some(Ok(delivery)));
                }
                continue;
            }
            let polled = self.events.poll_recv(context);
            self.shared.state().waits = polled.is_pending();
            match ready!(polled) {
                Some(Event::Given(given)) => self.current = Some(Current { given, next: 0 }),
                Some(Event::End(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for Member {
    type Item = Result<Delivery, SubscribeError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery, SubscribeError>>> {
        self.poll_delivery(context)
    }
}

/// The router extends a lease by no more than a day.
const LONGEST_LEASE: Duration = Duration::from_secs(86_400);
/// Messages that the router may send ahead, within what the member may hold.
const CREDIT_MESSAGES: u64 = 1 << 16;
/// Places in the queue: each delivery has a message at least, so the credit bounds them; and one for the end.
const QUEUE: usize = (1 << 16) + 1;

impl Shared {
    /// The next message of a delivery. One that came on a stream that is gone, or whose lease is over, is given out
    /// anew, and passed over.
    fn hand_out(self: &Arc<Self>, current: &mut Current) -> Option<Delivery> {
        let Current { given, next } = current;
        let index = *next;
        *next += 1;
        let mut state = self.state();
        state.active = Some(Instant::now());
        let lent = state.leases.get(&given.lease.id);
        let is_held = lent.is_some_and(|lent| lent.ends > Instant::now());
        if given.stream != state.stream || !is_held {
            *next = given.batch.batch.len();
            return None;
        }
        drop(state);
        let Lease { id, base, positions, attempts, .. } = &given.lease;
        let behind = positions.get(index).map_or(index as u64, |position| u64::from(*position));
        let held = Held {
            shared: self.clone(),
            stream: given.stream,
            lease: *id,
            place: base.saturating_add(behind),
        };
        let attempt = attempts.get(index).copied().unwrap_or(1);
        let message = Delivered::new(given.batch.clone(), index);
        Some(Delivery { message, held, attempt, is_open: true })
    }

    fn consume(&self, delivered: &DeliveredBatch) {
        if self.window().consumed(cost(delivered)) {
            self.consumed.notify_one();
        }
    }

    fn ack(&self, held: &Held) {
        if let Some(mut state) = self.standing(held) {
            state.outbox.ack(held.lease, held.place);
            state.settled(held.lease);
            drop(state);
            self.said.notify_one();
        }
    }

    /// Says something of a message, unless the stream that it came on is gone.
    fn say(&self, held: &Held, settle: Settle, told: Option<Told>) -> bool {
        let Some(mut state) = self.standing(held) else { return false };
        state.outbox.say(settle, told);
        state.settled(held.lease);
        drop(state);
        self.said.notify_one();
        true
    }

    /// A message was let go of without a word.
    fn abandon(&self, held: &Held) {
        let mut state = self.state();
        if state.stream == held.stream
            && let Some(lent) = state.leases.get_mut(&held.lease)
        {
            lent.abandoned += 1;
        }
    }

    fn extend(&self, held: &Held, extend: Extend) {
        if let Some(mut state) = self.standing(held) {
            let by = extend.by_ms.map(Duration::from_millis);
            state.extended(held.lease, by);
            let verb = Some(Verb::Extend(extend));
            state.outbox.say(Settle { lease: held.lease, verb, ..Settle::default() }, None);
            drop(state);
            self.said.notify_one();
        }
    }

    fn standing(&self, held: &Held) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.active = Some(Instant::now());
        (state.stream == held.stream).then_some(state)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // Nothing panics while it is held, and what it guards is sound at every step.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A message of a lease is settled.
    fn settled(&mut self, lease: u64) {
        if let Some(lent) = self.leases.get_mut(&lease) {
            lent.left = lent.left.saturating_sub(1);
            if lent.left == 0 {
                self.leases.remove(&lease);
            }
        }
    }

    /// A lease ends this long from now, or as long as a new one.
    fn extended(&mut self, lease: u64, by: Option<Duration>) {
        let by = by.unwrap_or(self.duration).min(LONGEST_LEASE);
        if let Some(lent) = self.leases.get_mut(&lease) {
            lent.ends = Instant::now() + by;
        }
    }
}
