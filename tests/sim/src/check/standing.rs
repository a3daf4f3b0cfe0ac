//! How the messages of the group stand.

use std::collections::BTreeSet;

use waypost_core::LeaseId;
use waypost_protocol::Offset;

use crate::{message::Content, network::Connection, router::ATTEMPTS};

/// How a message stands, as the group's members together know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// It is with nobody.
    Open,
    /// A member has it under a lease until then.
    Held(Connection, LeaseId, u64),
    /// It was acknowledged or rejected, and that was taken.
    Settled,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) key: Option<u8>,
    pub(super) content: Content,
    pub(super) stand: Stand,
    /// A member that had it said that it is done.
    pub(super) is_acked: bool,
    pub(super) is_confirmed: bool,
    pub(super) is_buried: bool,
    /// How often it was given out, as the last delivery said.
    pub(super) attempt: u32,
    /// How often it failed at least and at most, as members and the disk know it.
    pub(super) failures: (u32, u32),
    /// Its member returned it and asked for it not to come before.
    pub(super) not_before_ms: u64,
    /// When its time to live ends.
    pub(super) over_ms: Option<u64>,
    /// It was passed over because that was over.
    pub(super) is_passed: bool,
    /// Its member returned it: later ones of its key wait until it is done.
    pub(super) is_returned: bool,
}

/// What went out under a lease.
#[derive(Debug, Default)]
pub(super) struct Lease {
    pub(super) partition: usize,
    pub(super) offsets: BTreeSet<Offset>,
    /// What its member returned or rejected; what it says of these afterwards is passed over.
    pub(super) otherwise: BTreeSet<Offset>,
}

impl Message {
    /// Its member did not finish it.
    pub(super) fn failed(&mut self) {
        self.failures = (self.failures.0 + 1, self.failures.1 + 1);
    }

    /// Whether its time to live is over at a time.
    pub(super) fn is_over(&self, wall_ms: u64) -> bool {
        self.over_ms.is_some_and(|over_ms| over_ms <= wall_ms)
    }

    /// Whether it is a dead letter once it fails.
    pub(super) fn is_given_up(&self) -> bool {
        self.attempt >= ATTEMPTS
    }
}
