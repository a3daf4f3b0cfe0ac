//! A member of a group, as the conversation that speaks for it sees it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{mpsc, oneshot};
use waypost_core::{Credit, GroupName, MemberId};
use waypost_protocol::{
    Batch, Pattern,
    frame::{Acknowledge, Joined, Lease, ReadFrom, Refusal},
};

use super::task::Command;
use crate::{router::Delivery, streams::Refused};

/// What is asked for by who joins.
#[derive(Debug, Clone)]
pub struct JoinGroup {
    /// The group.
    pub group: GroupName,
    /// The topics that it takes.
    pub pattern: Pattern,
    /// Where it begins if it does not exist yet.
    pub from: Option<ReadFrom>,
    /// What the member is called.
    pub member: String,
    /// Messages that it holds unsettled at most; 0 leaves it to the group.
    pub max_in_flight: u32,
    /// What it may be sent at first.
    pub credit: Credit,
    /// The largest batch that its frames carry.
    pub frame_bytes: usize,
}

/// A delivery under a lease.
#[derive(Debug)]
pub struct Given {
    /// The lease.
    pub lease: Lease,
    /// The messages.
    pub delivery: Delivery,
}

/// What happens to a member.
#[derive(Debug)]
pub enum MemberEvent {
    /// It is given messages.
    Given(Box<Given>),
    /// It is a member no longer.
    Ended(Refused),
}

/// What became of what a member said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it was asked by.
    pub request: Option<u64>,
    /// What does not hold of it.
    pub refusals: Vec<Refusal>,
}

/// A place in a group. Dropping it gives back what it holds, which counts as failed unless it
/// [left](Self::leave).
#[derive(Debug)]
pub struct Membership {
    pub(super) member: MemberId,
    pub(super) joined: Joined,
    pub(super) events: mpsc::Receiver<MemberEvent>,
    pub(super) task: mpsc::Sender<Command>,
    pub(super) left: Arc<AtomicBool>,
}

impl Membership {
    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.member
    }

    /// What the member is told.
    #[must_use]
    pub fn joined(&self) -> Joined {
        self.joined
    }

    /// What happens next. `None` when the group is no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<MemberEvent> {
        self.events.recv().await
    }

    /// Adds to what it may be sent.
    pub async fn grant(&self, messages: u64, bytes: u64) {
        // A group that is no more says so by its events.
        let _ = self.task.send(Command::Grant(self.member, messages, bytes)).await;
    }

    /// Hands over what a member says. The answer comes at once where nothing was asked, and otherwise when what is
    /// settled is safe; never when the group is no more.
    pub async fn settle(&self, acknowledge: Acknowledge) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let _ = self.task.send(Command::Settle(self.member, acknowledge, reply)).await;
        answer
    }

    /// Goes in good order: what it holds comes back and does not count as failed.
    pub fn leave(self) {
        self.left.store(true, Ordering::Release);
    }
}

impl Given {
    /// The batch.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.delivery.batch
    }
}
