//! What is committed: units, and what comes of them.

use std::fmt;

use waypost_core::{Claim, GroupName, GroupPosition, Partition, RouteName, StageName};
use waypost_protocol::{Batch, Envelope, Offset, Pattern};

/// The number of a commit. Numbers have no gaps and never go back; one commit may carry several units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitNumber(pub u64);

impl fmt::Display for CommitNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Everything that happens at once or not at all: a publish, a step of a route with its outputs, or steps of groups
/// with their dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Batches to append, in order. One that its producer stored before is skipped; one that is refused
    /// refuses the unit.
    pub appends: Vec<Append>,
    /// How far a route came, and what it parked.
    pub step: Option<Step>,
    /// How far groups came; each partition of a group once.
    pub groups: Vec<GroupStep>,
}

/// A batch on its way into a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub partition: Partition,
    /// The batch, stored as it is.
    pub batch: Batch,
    /// What the router knows of it. The engine sets the base offset, and moves the ingest time forward to
    /// that of the batch before it if a clock went back.
    pub envelope: Envelope,
    /// Which message of a route each message is; `None` straight from a publisher. An engine whose atomic
    /// scope does not cover a unit skips what it stored before by these.
    pub origin: Option<Origin>,
}

/// The identities of a route's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The route.
    pub route: RouteName,
    /// The partition that it read.
    pub source: Partition,
    /// For each message of the batch what it came from.
    pub messages: Vec<MessageId>,
}

/// One message within a route's work on one partition. It is the same each time that the route runs over
/// the same input, and another where a dead letter has it tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The offset of the message that the route read.
    pub offset: Offset,
    /// The stage that it comes out of or waits at, counted from zero.
    pub stage: u16,
    /// Which of the messages that the stage made of it.
    pub index: u32,
}

/// How far a route came in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The route.
    pub route: RouteName,
    /// The partition that it reads.
    pub source: Partition,
    /// The progress that must be stored: another owner of the partition would have moved it.
    pub from: Option<Offset>,
    /// The offset that the route reads next.
    pub to: Offset,
    /// Messages that wait to be tried again. One that is parked already is replaced.
    pub park: Vec<ParkedMessage>,
    /// Messages that wait no longer. One that is not parked is passed over.
    pub unpark: Vec<MessageId>,
}

/// What is kept of a route in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRoute {
    /// The route.
    pub route: RouteName,
    /// The partition that it reads, or read.
    pub source: Partition,
    /// The offset that it reads next.
    pub progress: Offset,
    /// Messages that it parked.
    pub parked: u64,
}

/// A position that stood behind the end of its partition, as happens where loss was accepted: what is stored there next
/// would have been passed over. It was moved back to the end when the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedBack {
    /// The route or the group.
    pub reader: Reader,
    /// The partition.
    pub source: Partition,
    /// Where it stood.
    pub from: Offset,
    /// The end of the partition.
    pub to: Offset,
}

/// Whose position is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// A route's.
    Route(RouteName),
    /// A group's.
    Group(GroupName),
}

impl fmt::Display for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => write!(formatter, "the route {route}"),
            Self::Group(group) => write!(formatter, "the group {group}"),
        }
    }
}

/// Counts what was stored of a group in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How far a group came in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStep {
    /// The group.
    pub group: GroupName,
    /// The partition that it reads.
    pub source: Partition,
    /// The revision that must be stored, `None` where nothing is: another owner of the partition would have moved
    /// it.
    pub from: Option<Revision>,
    /// What is stored from now on, as the next revision; `None` forgets the group in this partition.
    pub to: Option<GroupState>,
}

/// What is kept of a group in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// The topics that it takes.
    pub pattern: Pattern,
    /// How far it came.
    pub position: GroupPosition,
}

/// What was found of a group in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptGroup {
    /// The partition.
    pub source: Partition,
    /// What its next step must name.
    pub revision: Revision,
    /// What is kept.
    pub state: GroupState,
}

/// A message that waits to be tried again, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedMessage {
    /// Which it is.
    pub id: MessageId,
    /// The stage that it waits at.
    pub stage: StageName,
    /// How often it was tried; not at all if it only waits behind another with its key.
    pub attempts: u32,
    /// When it is tried next, in milliseconds since the Unix epoch.
    pub due_ms: u64,
    /// When it was tried first.
    pub first_failure_ms: Option<u64>,
    /// Why it is to be tried again.
    pub error: String,
    /// The envelope of the batch that it came in.
    pub envelope: Envelope,
    /// It came as a dead letter of another route.
    pub is_letter: bool,
    /// The message as a batch of its own.
    pub batch: Batch,
}

/// A unit that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The commit that carries it; that of the last commit if nothing had to be stored.
    pub number: CommitNumber,
    /// What came of each of its batches, in order.
    pub appends: Vec<Appended>,
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It was stored.
    Stored {
        /// The offset of its first message.
        first_offset: Offset,
    },
    /// It had been stored before.
    Duplicate {
        /// The offset of its first message, unless that was forgotten.
        first_offset: Option<Offset>,
    },
}

impl Unit {
    /// A unit that appends one batch.
    #[must_use]
    pub fn append(append: Append) -> Self {
        Self { appends: vec![append], ..Self::default() }
    }

    /// Whether it makes the store larger for longer than a moment.
    pub(crate) fn grows(&self) -> bool {
        !self.appends.is_empty()
            || self.step.as_ref().is_some_and(|step| !step.park.is_empty())
            || self.groups.iter().any(|step| step.from.is_none())
    }
}

impl Append {
    /// What its producer says of it, if it has one.
    pub(crate) fn claim(&self) -> Option<(waypost_protocol::ProducerId, Claim)> {
        self.envelope.producer.map(|producer| {
            let messages = self.batch.len() as u64;
            let (epoch, first_sequence) = (producer.epoch, producer.first_sequence);
            (producer.id, Claim { epoch, first_sequence, messages })
        })
    }
}
