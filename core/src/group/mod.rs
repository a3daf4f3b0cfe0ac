//! Groups: named consumers that share streams or topics, each message going to one of them until it is done.
//!
//! A [`GroupLedger`] keeps one partition of a stream, or all messages of memory topics as one partition whose
//! offsets the host counts. A [`Crew`] keeps the members over all partitions, and who of them is given what:
//! [`assign`] shares out partitions, [`share`] messages.

mod crew;
mod ledger;
mod lines;
mod position;
mod ranges;
mod sharing;
#[cfg(test)]
mod tests;

use std::fmt;

pub use crew::{Crew, CrewError, Offer, Stand};
pub use ledger::{Candidate, GroupLedger, GroupMessage, Returned};
pub use position::{FailedMessage, GroupPosition};
pub use ranges::{OffsetRange, Ranges};
pub use sharing::{MemberLoad, assign, share};
use waypost_protocol::Offset;

use crate::RetryPolicy;

/// A member of a group, unique in its router's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// What a member holds messages under; of one delivery, and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How a group treats its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPolicy {
    /// How long a member holds a delivery that it does not extend, in milliseconds.
    pub lease_ms: u64,
    /// How often a message is given out, the waits between, and how many may wait in a partition before nothing
    /// new is taken.
    pub retry: RetryPolicy,
    /// Whether there is a place for dead letters. Without one a message is tried for ever.
    pub buries: bool,
}

/// What a member says of messages that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// They are done.
    Ack,
    /// Not now: they are to be given out again, after this many milliseconds or else as the policy says.
    Nack {
        /// The wait that was asked for.
        delay_ms: Option<u64>,
    },
    /// Never: they are dead letters.
    Reject {
        /// Why, in words.
        reason: String,
    },
}

/// Why what a member says of messages does not hold. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The lease is not the member's, or not any more.
    #[error(
        "lease {0} has ended: its time was over, or all of it is settled; what is open comes again"
    )]
    StaleLease(LeaseId),
    /// An offset was not part of the delivery.
    #[error("offset {offset} was not delivered under lease {lease}")]
    NeverDelivered {
        /// The lease.
        lease: LeaseId,
        /// The offset.
        offset: Offset,
    },
    /// The group has no place for what is rejected.
    #[error(
        "the group keeps no dead letters, so nothing can be rejected; set its dead_letter, or acknowledge"
    )]
    NoDeadLetters,
}

/// Why a message that was given out is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its member asked for another try.
    Nacked,
    /// Its member rejected it.
    Rejected(String),
    /// Nothing was heard of it until its lease was over.
    Expired,
    /// The connection of its member was lost.
    Lost,
}

/// A message that the group gives up on, until it is [buried](GroupLedger::buried).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Which.
    pub offset: Offset,
    /// Why it failed last; `None` when that was in an earlier life of the router.
    pub cause: Option<Cause>,
    /// How often it was given out.
    pub attempts: u32,
    /// When it failed first, in milliseconds since the Unix epoch.
    pub first_failure_ms: u64,
    /// When it failed last.
    pub last_failure_ms: u64,
}
