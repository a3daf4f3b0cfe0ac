//! A subscription's queue: bounded in messages and bytes, with pressure going to whoever fills it.
//!
//! Open => (Open | Ended). A sender that finds it full waits; when the subscriber got nothing on for
//! `block_max` since then, the queue ends with `SLOW_CONSUMER` and every sender goes on without it. The time
//! is the queue's and not each sender's, so that however many wait, they wait for it once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use waypost_protocol::{Batch, Envelope, ErrorCode};

/// A batch on its way to a subscriber.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The messages.
    pub batch: Batch,
    /// What the router knows of them; shared by all who get the batch.
    pub envelope: Arc<Envelope>,
}

/// How much a queue holds. One delivery is always let in, however large.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of batches.
    pub bytes: usize,
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
    limits: QueueLimits,
    state: Mutex<State>,
    taken: Notify,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    deliveries: VecDeque<Delivery>,
    messages: usize,
    bytes: usize,
    /// Since when a sender finds no room while the subscriber gets nothing on.
    blocked_since: Option<Instant>,
    ended: Option<ErrorCode>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is in the queue.
    Admitted,
    /// The subscription had ended before.
    Gone,
    /// The subscription took nothing for too long, and this ended it.
    Ended,
}

pub(super) fn queue(limits: QueueLimits) -> (QueueSender, QueueReceiver) {
    let shared = Arc::new(Shared {
        limits,
        state: Mutex::default(),
        taken: Notify::new(),
        filled: Notify::new(),
    });
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

impl State {
    /// The subscriber got something on, so whoever waits may wait for the whole time again.
    fn progress(&mut self) {
        if self.blocked_since.is_some() {
            self.blocked_since = Some(Instant::now());
        }
    }

    fn fits(&self, delivery: &Delivery, limits: QueueLimits) -> bool {
        self.deliveries.is_empty()
            || (self.messages + delivery.batch.len() <= limits.messages
                && self.bytes + delivery.batch.byte_len() <= limits.bytes)
    }
}

impl QueueSender {
    /// Puts a delivery in, waiting for room as long as the subscriber gets something on at least every
    /// `block_max`.
    pub(super) async fn admit(&self, delivery: Delivery, block_max: Duration) -> Admission {
        loop {
            let mut taken = std::pin::pin!(self.0.taken.notified());
            // Registered before the look, so that no take between look and wait is missed.
            taken.as_mut().enable();
            let deadline = {
                let mut state = self.0.lock();
                if state.ended.is_some() {
                    return Admission::Gone;
                }
                if state.fits(&delivery, self.0.limits) {
                    state.blocked_since = None;
                    state.messages += delivery.batch.len();
                    state.bytes += delivery.batch.byte_len();
                    state.deliveries.push_back(delivery);
                    drop(state);
                    self.0.filled.notify_one();
                    return Admission::Admitted;
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
                if let Some(delivery) = state.deliveries.pop_front() {
                    state.messages -= delivery.batch.len();
                    state.bytes -= delivery.batch.byte_len();
                    state.progress();
                    drop(state);
                    self.0.taken.notify_waiters();
                    return Received::Delivery(delivery);
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
        let mut state = self.0.lock();
        *state = State { ended: state.ended, ..State::default() };
    }
}

#[cfg(test)]
mod tests {
    use waypost_protocol::BatchBuilder;

    use super::*;

    const BLOCK_MAX: Duration = Duration::from_secs(5);

    fn delivery(messages: usize) -> Delivery {
        let mut builder = BatchBuilder::new();
        for _ in 0..messages {
            builder.push("a", None, &[], b"x", 0).expect("it fits");
        }
        let batch = builder.finish().expect("there are messages");
        Delivery { batch, envelope: Arc::default() }
    }

    fn small() -> QueueLimits {
        QueueLimits { messages: 2, bytes: 1 << 20 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_larger_than_the_queue_is_let_into_an_empty_one() {
        let (sender, mut receiver) = queue(small());
        assert_eq!(sender.admit(delivery(3), BLOCK_MAX).await, Admission::Admitted);
        assert!(matches!(receiver.recv().await, Received::Delivery(d) if d.batch.len() == 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_holds_the_sender_until_something_is_taken() {
        let (sender, mut receiver) = queue(small());
        assert_eq!(sender.admit(delivery(2), BLOCK_MAX).await, Admission::Admitted);
        let waiting = tokio::spawn(async move { sender.admit(delivery(1), BLOCK_MAX).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert!(matches!(receiver.recv().await, Received::Delivery(d) if d.batch.len() == 2));
        assert_eq!(waiting.await.expect("the sender ends"), Admission::Admitted);
        assert!(matches!(receiver.recv().await, Received::Delivery(d) if d.batch.len() == 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_takes_nothing_ends_and_frees_its_senders() {
        let (sender, mut receiver) = queue(small());
        assert_eq!(sender.admit(delivery(2), BLOCK_MAX).await, Admission::Admitted);
        assert_eq!(sender.admit(delivery(1), BLOCK_MAX).await, Admission::Ended);
        assert_eq!(sender.admit(delivery(1), BLOCK_MAX).await, Admission::Gone);
        assert!(matches!(receiver.recv().await, Received::Ended(ErrorCode::SlowConsumer)));
    }

    #[tokio::test(start_paused = true)]
    async fn senders_that_wait_together_wait_once() {
        let (sender, _receiver) = queue(small());
        assert_eq!(sender.admit(delivery(2), BLOCK_MAX).await, Admission::Admitted);
        let start = Instant::now();
        let late = async {
            tokio::time::sleep(BLOCK_MAX / 2).await;
            sender.admit(delivery(1), BLOCK_MAX).await
        };
        let ends = tokio::join!(sender.admit(delivery(1), BLOCK_MAX), late);
        assert!(matches!(ends, (Admission::Ended, Admission::Gone | Admission::Ended)), "{ends:?}");
        assert!(start.elapsed() < BLOCK_MAX + BLOCK_MAX / 4, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_gets_something_on_is_not_slow_although_it_takes_no_new_delivery() {
        let (sender, mut receiver) = queue(small());
        assert_eq!(sender.admit(delivery(2), BLOCK_MAX).await, Admission::Admitted);
        let waiting = tokio::spawn(async move { sender.admit(delivery(1), BLOCK_MAX).await });
        for _ in 0..5 {
            tokio::time::sleep(BLOCK_MAX / 2).await;
            receiver.progress();
        }
        assert!(!waiting.is_finished());
        assert!(matches!(receiver.recv().await, Received::Delivery(_)));
        assert_eq!(waiting.await.expect("the sender ends"), Admission::Admitted);
    }

    #[tokio::test(start_paused = true)]
    async fn at_shutdown_what_is_queued_is_still_taken() {
        let (sender, mut receiver) = queue(small());
        assert_eq!(sender.admit(delivery(1), BLOCK_MAX).await, Admission::Admitted);
        sender.end(ErrorCode::ShuttingDown);
        assert!(matches!(receiver.recv().await, Received::Delivery(_)));
        assert!(matches!(receiver.recv().await, Received::Ended(ErrorCode::ShuttingDown)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_receiver_frees_a_waiting_sender() {
        let (sender, receiver) = queue(small());
        assert_eq!(sender.admit(delivery(2), BLOCK_MAX).await, Admission::Admitted);
        let waiting = tokio::spawn(async move { sender.admit(delivery(1), BLOCK_MAX).await });
        tokio::task::yield_now().await;
        drop(receiver);
        assert_eq!(waiting.await.expect("the sender ends"), Admission::Gone);
    }
}
