//! What becomes of a publish. The receipts of one batch share one result.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use waypost_protocol::{
    Offset,
    frame::{self, PublishResult},
};

use crate::{Disconnected, RouterCode};

/// How a publish ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The router has taken it.
    Committed {
        /// Some message of its batch matched no route and no subscription.
        unrouted: bool,
        /// Its place, when a stream stored it.
        offset: Option<Offset>,
        /// The stream had it already.
        duplicate: bool,
    },
    /// The router has certainly not stored it.
    Rejected {
        /// Why, as a number.
        code: RouterCode,
        /// Why, in the router's words.
        message: Arc<str>,
    },
    /// The connection was lost, or this side closed, before the result came. It may or may not have
    /// been taken.
    Unknown {
        /// Why there is no result.
        reason: Disconnected,
    },
}

impl Outcome {
    /// Whether the router has taken it.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        matches!(self, Self::Committed { .. })
    }

    /// What a result says; `None` when it says nothing.
    pub(super) fn of_result(result: PublishResult) -> Option<Self> {
        Some(match result.outcome? {
            frame::Outcome::Committed(committed) => Self::Committed {
                unrouted: committed.unrouted,
                offset: committed.offset.map(Offset),
                duplicate: committed.duplicate,
            },
            frame::Outcome::Rejected(rejected) => Self::Rejected {
                code: RouterCode::from_number(rejected.code),
                message: rejected.message.into(),
            },
        })
    }

    /// The same for a message that stands `index` behind the first of its batch.
    fn of_message(&self, index: u32) -> Self {
        match self {
            Self::Committed { unrouted, offset: Some(first), duplicate } => Self::Committed {
                unrouted: *unrouted,
                offset: Some(Offset(first.0.saturating_add(index.into()))),
                duplicate: *duplicate,
            },
            other => other.clone(),
        }
    }
}

/// Resolves to the outcome of one publish. Every receipt resolves, whatever happens to the
/// connection; dropping it changes nothing.
#[derive(Debug)]
#[must_use = "the receipt says whether the message was taken"]
pub struct Receipt {
    slot: Arc<Slot>,
    index: u32,
    /// Where the waker of this receipt stands in the slot, once it waits.
    waiting: Option<usize>,
}

/// The side that knows the outcome. When it is dropped without one, the outcome is unknown.
#[derive(Debug)]
pub(super) struct Resolver(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot(Mutex<SlotState>);

#[derive(Debug, Default)]
struct SlotState {
    outcome: Option<Outcome>,
    /// At most one for each message of the batch.
    wakers: Vec<Waker>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        // Nothing panics while it is held, and what it guards is sound at every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// A receipt for the message at this place of the batch.
    pub(super) fn receipt(&self, index: usize) -> Receipt {
        // A batch's count is a u32.
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Receipt { slot: self.0.clone(), index, waiting: None }
    }

    pub(super) fn resolve(self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&self, outcome: Outcome) {
        let mut state = self.0.lock();
        if state.outcome.is_some() {
            return;
        }
        state.outcome = Some(outcome);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.settle(Outcome::Unknown { reason: Disconnected::Closed });
    }
}

impl Future for Receipt {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let Self { slot, index, waiting } = &mut *self;
        let mut state = slot.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.of_message(*index));
        }
        match waiting.and_then(|place| state.wakers.get_mut(place)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                *waiting = Some(state.wakers.len());
                state.wakers.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use waypost_protocol::ErrorCode;

    use super::*;

    #[test]
    fn each_message_of_a_batch_has_its_own_offset() {
        let resolver = Resolver::new();
        let receipts = [resolver.receipt(0), resolver.receipt(2)];
        let offset = Some(Offset(40));
        resolver.resolve(Outcome::Committed { unrouted: false, offset, duplicate: false });
        let offsets = receipts.map(|receipt| match receipt.now_or_never() {
            Some(Outcome::Committed { offset, .. }) => offset,
            other => panic!("{other:?} is not committed"),
        });
        assert_eq!(offsets, [Some(Offset(40)), Some(Offset(42))]);
    }

    #[test]
    fn what_is_dropped_is_unknown() {
        let resolver = Resolver::new();
        let mut receipt = resolver.receipt(0);
        assert!((&mut receipt).now_or_never().is_none());
        drop(resolver);
        assert!(matches!(receipt.now_or_never(), Some(Outcome::Unknown { .. })));
    }

    #[tokio::test]
    async fn every_waiting_receipt_is_woken() {
        let resolver = Resolver::new();
        let waiting = [resolver.receipt(0), resolver.receipt(1)].map(tokio::spawn);
        tokio::task::yield_now().await;
        let code = ErrorCode::Internal.into();
        resolver.resolve(Outcome::Rejected { code, message: "no".into() });
        for receipt in waiting {
            assert!(matches!(receipt.await, Ok(Outcome::Rejected { .. })));
        }
    }
}
