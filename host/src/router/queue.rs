//! A subscription's queue: bounded in messages and bytes, with pressure going to whoever fills it.
//!
//! Open => (Open | Ended). A sender that finds it full waits, unless its messages may be dropped; when the
//! subscriber got nothing on for `block_max` since then, the queue ends with `SLOW_CONSUMER` and every sender
//! goes on without it. The time is the queue's and not each sender's, so that however many wait, they wait for
//! it once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use waypost_core::{Backlog, Dropped, Offered, OnFull, QueueLimits, TopicRule};
use waypost_protocol::{Batch, Envelope, ErrorCode};

/// A batch on its way to a subscriber.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The messages.
    pub batch: Batch,
    /// What the router knows of them; shared by all who get the batch.
    pub envelope: Arc<Envelope>,
}

/// What holds for a delivery when there is no room for it.
#[derive(Debug, Clone)]
pub(super) struct WhenFull {
    pub(super) on_full: OnFull,
    /// How long the subscriber may get nothing on while it waits.
    pub(super) block_max: Duration,
    /// The rule that says so, if one does.
    pub(super) rule: Option<Arc<TopicRule>>,
}

/// What comes out of a queue.
#[derive(Debug)]
pub enum Received {
    /// The next delivery.
    Delivery(Delivery),
    /// There is no more, for this reason.
    Ended(ErrorCode),
}

/// The side that fills.
#[derive(Debug, Clone)]
pub(super) struct QueueSender(Arc<Shared>);

/// The side that takes. Dropping it ends the queue for its senders.
#[derive(Debug)]
pub(super) struct QueueReceiver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    taken: Notify,
    filled: Notify,
}

#[derive(Debug)]
struct State {
    backlog: Backlog<Arc<Envelope>>,
    /// Senders that wait for room.
    waiting: usize,
    /// Since when one of them does while the subscriber gets nothing on.
    blocked_since: Option<Instant>,
    ended: Option<ErrorCode>,
}

/// What became of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is in the queue as far as there was room.
    Admitted {
        /// So many of its messages.
        messages: usize,
        /// What was dropped, of it or of what waited before.
        dropped: Vec<Dropped>,
    },
    /// The subscription had ended before.
    Gone,
    /// The subscription took nothing for too long, and this ended it.
    Ended,
}

pub(super) fn queue(limits: QueueLimits) -> (QueueSender, QueueReceiver) {
    let state =
        State { backlog: Backlog::new(limits), waiting: 0, blocked_since: None, ended: None };
    let shared =
        Arc::new(Shared { state: Mutex::new(state), taken: Notify::new(), filled: Notify::new() });
    (QueueSender(shared.clone()), QueueReceiver(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock panics, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, code: ErrorCode) {
        self.lock().ended.get_or_insert(code);
        self.taken.notify_waiters();
        self.filled.notify_one();
    }
}

/// A sender that waits, until it has its room or gives up.
struct Waiter<'a>(&'a Shared);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        if state.waiting == 0 {
            state.blocked_since = None;
        }
    }
}

impl State {
    /// The subscriber got something on, so whoever waits may wait for the whole time again.
    fn progress(&mut self) {
        if self.blocked_since.is_some() {
            self.blocked_since = Some(Instant::now());
        }
    }
}

impl QueueSender {
    /// Puts a delivery in, all of whose messages one rule holds for. Where they block, it waits for room as
    /// long as the subscriber gets something on at least every `block_max`.
    pub(super) async fn admit(&self, delivery: Delivery, when_full: WhenFull) -> Admission {
        let WhenFull { on_full, block_max, rule } = when_full;
        let Delivery { mut batch, mut envelope } = delivery;
        let mut waiter = None;
        loop {
            let mut taken = std::pin::pin!(self.0.taken.notified());
            // Registered before the look, so that no take between look and wait is missed.
            taken.as_mut().enable();
            let deadline = {
                let mut state = self.0.lock();
                if state.ended.is_some() {
                    return Admission::Gone;
                }
                match state.backlog.offer(batch, envelope, on_full, rule.clone()) {
                    Offered::Taken { messages, dropped } => {
                        drop(state);
                        self.0.filled.notify_one();
                        return Admission::Admitted { messages, dropped };
                    }
                    Offered::Full(back, with) => (batch, envelope) = (back, with),
                }
                if waiter.is_none() {
                    state.waiting += 1;
                    waiter = Some(Waiter(&self.0));
                }
                let now = Instant::now();
                let deadline = *state.blocked_since.get_or_insert(now) + block_max;
                if deadline <= now {
                    drop(state);
                    self.0.end(ErrorCode::SlowConsumer);
                    return Admission::Ended;
                }
                deadline
            };
            // Whether it was a take or the time, the state says what follows.
            let _ = tokio::time::timeout_at(deadline, taken).await;
        }
    }

    /// How many messages wait in it, and the bytes of their batches.
    pub(super) fn held(&self) -> (usize, usize) {
        self.0.lock().backlog.held()
    }

    /// Ends the queue; what is in it is still taken.
    pub(super) fn end(&self, code: ErrorCode) {
        self.0.end(code);
    }
}

impl QueueReceiver {
    /// The next delivery, or why there is none. A slow consumer's backlog is not delivered: it has
    /// already missed what came after.
    pub(super) async fn recv(&mut self) -> Received {
        loop {
            {
                let mut state = self.0.lock();
                if let Some(ErrorCode::SlowConsumer) = state.ended {
                    return Received::Ended(ErrorCode::SlowConsumer);
                }
                if let Some((batch, envelope)) = state.backlog.take() {
                    state.progress();
                    drop(state);
                    self.0.taken.notify_waiters();
                    return Received::Delivery(Delivery { batch, envelope });
                }
                if let Some(code) = state.ended {
                    return Received::Ended(code);
                }
            }
            self.0.filled.notified().await;
        }
    }
}

impl QueueReceiver {
    /// Takes note that the subscriber got something on of what it took before.
    pub(super) fn progress(&self) {
        self.0.lock().progress();
    }

    /// Resolves when the queue has ended because nothing was taken for too long. For a subscription that
    /// cannot hand on what it took, and so would never look again.
    pub(super) async fn slow(&self) {
        loop {
            if self.0.lock().ended == Some(ErrorCode::SlowConsumer) {
                return;
            }
            self.0.filled.notified().await;
        }
    }
}

impl Drop for QueueReceiver {
    fn drop(&mut self) {
        self.0.end(ErrorCode::ShuttingDown);
        self.0.lock().backlog.clear();
    }
}

#[cfg(test)]
mod tests;
