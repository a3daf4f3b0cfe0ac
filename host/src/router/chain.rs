//! From one route into the next: what waits at a lane for having come out of another, and who waits for it.
//!
//! A lane hands on without awaiting room, so that no lane ever waits for the queue of another. It then waits until
//! all of it is settled, which is what bounds the queues, and takes meanwhile only batches that went through more
//! routes than the one that it has in work. ARCHITECTURE.md says why this ends.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;
use waypost_core::Lineage;
use waypost_protocol::Batch;

/// A batch, or the part of one, that came out of a route and that another takes.
#[derive(Debug)]
pub(super) struct ChainedJob {
    pub(super) batch: Batch,
    pub(super) lineage: Lineage,
    pub(super) ticket: Ticket,
}

/// Where such batches wait for a lane; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ChainInbox(Arc<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they came, by the routes that they went through. Each lane has at most one step of
    /// each number unsettled, and a step is no larger than a batch of its route.
    jobs: BTreeMap<u8, VecDeque<ChainedJob>>,
    is_closed: bool,
}

/// What a lane handed on in one step, until all of it is settled. Mostly that is nothing.
#[derive(Debug, Default)]
pub(super) struct Step(OnceLock<Arc<Open>>);

/// A batch's part in a step. Whoever has done all that follows from the batch settles it; one that is dropped
/// before is lost.
#[derive(Debug)]
pub(super) struct Ticket {
    step: Arc<Open>,
    is_settled: bool,
}

#[derive(Debug, Default)]
struct Open {
    tickets: AtomicUsize,
    is_lost: AtomicBool,
    closed: Notify,
}

impl ChainInbox {
    /// Puts a batch in, without a wait. After the end it is lost.
    pub(super) fn put(&self, job: ChainedJob) {
        let mut state = self.0.lock();
        if state.is_closed {
            drop(state);
            tracing::error!("a route ended before one that feeds it; a batch is lost");
            return;
        }
        state.jobs.entry(job.lineage.hops).or_default().push_back(job);
        drop(state);
        self.0.changed.notify_one();
    }

    /// The first of those that went through the most routes, if that is more than so many.
    pub(super) fn take_deeper_than(&self, hops: u8) -> Option<ChainedJob> {
        let mut state = self.0.lock();
        let mut deepest = state.jobs.last_entry().filter(|entry| *entry.key() > hops)?;
        let job = deepest.get_mut().pop_front();
        if deepest.get().is_empty() {
            deepest.remove();
        }
        job
    }

    /// Awaits one that [`take_deeper_than`](Self::take_deeper_than) would give, and takes it; `None` when there
    /// will be no more. Dropping the future loses nothing. One at a time waits.
    pub(super) async fn deeper_than(&self, hops: u8) -> Option<ChainedJob> {
        loop {
            if let Some(job) = self.take_deeper_than(hops) {
                return Some(job);
            }
            if self.0.lock().is_closed {
                return None;
            }
            self.0.changed.notified().await;
        }
    }

    /// Resolves when there is one at all.
    pub(super) async fn filled(&self) {
        while self.0.lock().jobs.is_empty() {
            self.0.changed.notified().await;
        }
    }

    /// There will be no more; what is there is still taken.
    pub(super) fn close(&self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_one();
    }

    /// Nobody takes any more: what is there is lost, and whoever waits for it learns so.
    pub(super) fn abandon(&self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        drop(jobs);
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock panics, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    /// One more batch belongs to it.
    pub(super) fn ticket(&self) -> Ticket {
        let step = self.0.get_or_init(Arc::default).clone();
        step.tickets.fetch_add(1, Ordering::AcqRel);
        Ticket { step, is_settled: false }
    }

    /// Whether nothing was handed on in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Waits until nothing of it is left to do; whether none of it was lost. All tickets must have been given out.
    pub(super) async fn settled(&self) -> bool {
        let Some(open) = self.0.get() else {
            return true;
        };
        while open.tickets.load(Ordering::Acquire) > 0 {
            open.closed.notified().await;
        }
        !open.is_lost.load(Ordering::Acquire)
    }
}

impl Ticket {
    /// All that follows from the batch is done.
    pub(super) fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_settled {
            self.step.is_lost.store(true, Ordering::Release);
        }
        if self.step.tickets.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.step.closed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use waypost_protocol::BatchBuilder;

    use super::*;

    fn job(step: &Step, hops: u8, number: u64) -> ChainedJob {
        let mut builder = BatchBuilder::new();
        builder.push("a", None, &[], b"", number).expect("it fits");
        let batch = builder.finish().expect("one message");
        let lineage = Lineage { hops, ..Lineage::published(0) };
        ChainedJob { batch, lineage, ticket: step.ticket() }
    }

    fn number(job: Option<ChainedJob>) -> Option<u64> {
        job.and_then(|job| Some(job.batch.get(0)?.created_ms()))
    }

    #[test]
    fn what_went_through_the_most_routes_is_taken_first_and_else_what_came_first() {
        let (inbox, step) = (ChainInbox::default(), Step::default());
        for (hops, number) in [(1, 10), (3, 30), (1, 11), (3, 31), (2, 20)] {
            inbox.put(job(&step, hops, number));
        }
        let taken = std::iter::from_fn(|| number(inbox.take_deeper_than(1)));
        assert_eq!(taken.collect::<Vec<_>>(), [30, 31, 20]);
        let taken = std::iter::from_fn(|| number(inbox.take_deeper_than(0)));
        assert_eq!(taken.collect::<Vec<_>>(), [10, 11]);
    }

    #[test]
    fn a_step_is_settled_with_its_last_ticket_and_knows_whether_one_was_lost() {
        let step = Step::default();
        let (first, second) = (step.ticket(), step.ticket());
        first.settle();
        assert_eq!(step.settled().now_or_never(), None);
        second.settle();
        assert_eq!(step.settled().now_or_never(), Some(true));
        drop(step.ticket());
        assert_eq!(step.settled().now_or_never(), Some(false));
    }

    #[tokio::test]
    async fn at_the_end_what_is_there_is_still_taken() {
        let (inbox, step) = (ChainInbox::default(), Step::default());
        inbox.put(job(&step, 1, 1));
        inbox.close();
        assert_eq!(number(inbox.deeper_than(0).await), Some(1));
        assert!(inbox.deeper_than(0).await.is_none());
        inbox.put(job(&step, 1, 2));
        assert_eq!(step.settled().now_or_never(), Some(false), "it is lost, and known to be");
    }
}
