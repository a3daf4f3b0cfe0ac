//! Why storage did not do what it was asked for.

use waypost_core::{GroupName, Partition};
use waypost_protocol::{Epoch, ErrorCode, Offset, ProducerId, Sequence};

use crate::Revision;

/// Why a unit, a trim or an opened producer was not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The partition does not exist.
    #[error("there is no partition {0}; declare its stream, or name one of its partitions")]
    UnknownPartition(Partition),
    /// The producer's batch does not follow what it stored before.
    #[error("producer {producer} sent sequence {sent} to {partition}, which expects {expected}")]
    OutOfSequence {
        /// Who.
        producer: ProducerId,
        /// Where.
        partition: Partition,
        /// What it sent.
        sent: Sequence,
        /// What would have followed.
        expected: Sequence,
    },
    /// A newer life of the producer was opened.
    #[error("epoch {epoch} of producer {producer} is fenced by epoch {current}")]
    ProducerFenced {
        /// Who.
        producer: ProducerId,
        /// The older life.
        epoch: Epoch,
        /// The newest.
        current: Epoch,
    },
    /// The producer was not opened, or was forgotten.
    #[error(
        "producer {producer} with epoch {epoch} is not known; open it, and resend nothing blindly"
    )]
    UnknownProducer {
        /// Who.
        producer: ProducerId,
        /// Which life.
        epoch: Epoch,
    },
    /// As many producers are open as may be.
    #[error("{limit} producers are open already; let some be forgotten, or raise the limit")]
    TooManyProducers {
        /// The limit.
        limit: usize,
    },
    /// Somebody else moved the route's progress.
    #[error("the route's progress in {partition} is {stored:?} where {expected:?} was expected")]
    ProgressMoved {
        /// The partition that the route reads.
        partition: Partition,
        /// What the step expected.
        expected: Option<Offset>,
        /// What is stored.
        stored: Option<Offset>,
    },
    /// A step would move the progress back.
    #[error("the route's progress in {partition} would go back from {from} to {to}")]
    ProgressBack {
        /// The partition that the route reads.
        partition: Partition,
        /// What is stored.
        from: Offset,
        /// Where the step would take it.
        to: Offset,
    },
    /// Somebody else moved the group in a partition.
    #[error(
        "the group {group} stands at revision {stored:?} in {partition} where {expected:?} was expected"
    )]
    GroupMoved {
        /// The group.
        group: GroupName,
        /// The partition that it reads.
        partition: Partition,
        /// What the step expected.
        expected: Option<Revision>,
        /// What is stored.
        stored: Option<Revision>,
    },
    /// The partition's offsets or another number of it are used up.
    #[error("{0} has used up its offsets")]
    Exhausted(Partition),
    /// Less space is free than is held in reserve.
    #[error(
        "{free} bytes are free where {reserve} are held in reserve; free some, or trim streams"
    )]
    Full {
        /// Bytes free.
        free: u64,
        /// Bytes held in reserve.
        reserve: u64,
    },
    /// What had to be looked up could not be read: nothing was written.
    #[error("storage cannot be read: {0}")]
    Unreadable(String),
    /// Storage was fenced before: nothing was written.
    #[error("storage is fenced: {reason}; the process must start anew to recover")]
    Fenced {
        /// The failure that fenced it.
        reason: String,
    },
    /// The write or its sync failed, and may yet be found on disk at the next start.
    #[error("it is unknown whether this was stored: {reason}")]
    Unknown {
        /// What failed.
        reason: String,
    },
    /// Storage is closed: nothing was written.
    #[error("storage is closed")]
    Closed,
}

impl CommitError {
    /// The code that a publisher is told. `None` when the outcome is unknown: it is then told nothing, loses
    /// its connection, and asks again with the same identity.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::UnknownPartition(_) => Some(ErrorCode::UnknownPartition),
            Self::OutOfSequence { .. } => Some(ErrorCode::OutOfSequence),
            Self::ProducerFenced { .. } => Some(ErrorCode::ProducerFenced),
            Self::UnknownProducer { .. } => Some(ErrorCode::UnknownProducer),
            Self::TooManyProducers { .. } => Some(ErrorCode::TooManyProducers),
            Self::Full { .. } => Some(ErrorCode::StorageFull),
            Self::Fenced { .. } => Some(ErrorCode::StorageFenced),
            Self::Closed => Some(ErrorCode::ShuttingDown),
            Self::ProgressMoved { .. }
            | Self::ProgressBack { .. }
            | Self::GroupMoved { .. }
            | Self::Exhausted(_)
            | Self::Unreadable(_) => Some(ErrorCode::Internal),
            Self::Unknown { .. } => None,
        }
    }
}

/// Why a stream was not declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// It stands with fewer or more partitions; keys would change theirs.
    #[error(
        "the stream has {stored} partitions and is declared with {declared}; keep the number, or begin another stream"
    )]
    Partitions {
        /// How many it has.
        stored: u32,
        /// How many it was to have.
        declared: u32,
    },
    /// It could not be stored.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The partition does not exist.
    #[error("there is no partition {0}; declare its stream, or name one of its partitions")]
    UnknownPartition(Partition),
    /// What was asked for was trimmed.
    #[error("{partition} begins at {first} now; what came before was trimmed")]
    Trimmed {
        /// The partition.
        partition: Partition,
        /// The first offset that it still has.
        first: Offset,
    },
    /// The offset is beyond the next one to be written.
    #[error("{partition} ends at {next}; nothing stands there yet")]
    Ahead {
        /// The partition.
        partition: Partition,
        /// The offset of the next message.
        next: Offset,
    },
    /// What stands there is not what was written.
    #[error("{partition} is damaged at {offset}: {what}")]
    Damaged {
        /// The partition.
        partition: Partition,
        /// The offset of what is damaged.
        offset: Offset,
        /// Where a reader can go on that gives up what lies between; `None` if there is no such place.
        resume: Option<Offset>,
        /// What is wrong.
        what: String,
    },
    /// The engine failed.
    #[error("storage cannot be read: {0}")]
    Failed(String),
}
