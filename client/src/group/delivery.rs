//! A message that a member holds.

use std::{ops::Deref, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use waypost_protocol::frame::{Extend, Nack, PlaceRange, Reject, Settle, Verb};

use super::{SettleError, Shared};
use crate::Delivered;

/// A reason of a reject is cut to so many bytes.
const LONGEST_REASON: usize = 8 << 10;

/// A message that a member holds until it says what becomes of it. One that is dropped without a word comes again
/// when its lease is over: it is extended only for messages that came with it and are still held.
///
/// What is said is on its way when the method returns. The methods that end in `confirmed` wait until the router
/// has made it safe, so that the message does not come again.
#[derive(Debug)]
pub struct Delivery {
    pub(super) message: Delivered,
    pub(super) held: Held,
    pub(super) attempt: u32,
    /// Nothing was said of it.
    pub(super) is_open: bool,
}

/// Where a message stands.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) shared: Arc<Shared>,
    /// The stream that it came on.
    pub(super) stream: u64,
    pub(super) lease: u64,
    pub(super) place: u64,
}

impl Deref for Delivery {
    type Target = Delivered;

    fn deref(&self) -> &Delivered {
        &self.message
    }
}

impl Delivery {
    /// The message itself, which stays when the delivery is settled.
    #[must_use]
    pub fn message(&self) -> &Delivered {
        &self.message
    }

    /// How often the message was given out, with this time.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// It is done. Many acknowledgements share a frame.
    pub fn ack(mut self) {
        self.is_open = false;
        self.held.shared.ack(&self.held);
    }

    /// It is done; waits until that is safe.
    ///
    /// # Errors
    ///
    /// It does not hold, or that is not known: the message comes again.
    pub async fn ack_confirmed(self) -> Result<(), SettleError> {
        self.confirmed(Verb::Ack(true)).await
    }

    /// It is done, and with it everything that the member holds of its partition up to it: also what came in earlier
    /// deliveries, and what was dropped without a word.
    pub fn ack_through(self) {
        let through = self.held.place;
        self.say(Verb::AckThrough(through));
    }

    /// It is done with everything before it, as [`Delivery::ack_through`] says; waits until that is safe.
    ///
    /// # Errors
    ///
    /// It does not hold, or that is not known.
    pub async fn ack_through_confirmed(self) -> Result<(), SettleError> {
        let through = self.held.place;
        self.confirmed(Verb::AckThrough(through)).await
    }

    /// Not now: it is given out again after this long, or else as the group's backoff says.
    pub fn nack(self, delay: Option<Duration>) {
        self.say(nack(delay));
    }

    /// Not now; waits until that is safe.
    ///
    /// # Errors
    ///
    /// It does not hold, or that is not known.
    pub async fn nack_confirmed(self, delay: Option<Duration>) -> Result<(), SettleError> {
        self.confirmed(nack(delay)).await
    }

    /// Never: it is a dead letter with this reason. A group without a place for dead letters refuses that, and the
    /// message comes again.
    pub fn reject(self, reason: &str) {
        self.say(reject(reason));
    }

    /// Never; waits until the dead letter is safe.
    ///
    /// # Errors
    ///
    /// The group has no place for dead letters, it does not hold for another reason, or that is not known.
    pub async fn reject_confirmed(self, reason: &str) -> Result<(), SettleError> {
        self.confirmed(reject(reason)).await
    }

    /// It takes longer: everything that came with it is held for this long from now, or else as long as a
    /// new lease.
    pub fn extend(&self, by: Option<Duration>) {
        self.held.shared.extend(&self.held, Extend { by_ms: by.map(milliseconds) });
    }

    fn say(mut self, verb: Verb) {
        self.is_open = false;
        self.held.shared.say(&self.held, self.held.settle(verb), None);
    }

    async fn confirmed(mut self, verb: Verb) -> Result<(), SettleError> {
        let (told, answer) = oneshot::channel();
        self.is_open = false;
        if !self.held.shared.say(&self.held, self.held.settle(verb), Some(told)) {
            return Err(SettleError::Gone);
        }
        answer.await.unwrap_or(Err(SettleError::Unknown))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.is_open {
            self.held.shared.abandon(&self.held);
        }
    }
}

impl Held {
    fn settle(&self, verb: Verb) -> Settle {
        let ranges = vec![PlaceRange { first: self.place, last: self.place }];
        Settle { lease: self.lease, ranges, verb: Some(verb) }
    }
}

fn nack(delay: Option<Duration>) -> Verb {
    Verb::Nack(Nack { delay_ms: delay.map(milliseconds) })
}

fn reject(reason: &str) -> Verb {
    let cut = reason.get(..reason.floor_char_boundary(LONGEST_REASON)).unwrap_or(reason);
    Verb::Reject(Reject { reason: cut.to_owned() })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
