//! Why letters are not shown, or do not leave.

use waypost_core::{AddressError, LetterAddress, TooScattered};
use waypost_protocol::Offset;
use waypost_storage::{CommitError, ReadError};

/// Why letters are not shown, or do not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DlqError {
    /// An address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No letter can have this reason.
    #[error("there is no reason {0:?}; docs/errors.md has the codes, such as PLUGIN_TRAP")]
    Reason(String),
    /// Neither letters are named nor a filter, or both.
    #[error("name letters by their addresses, or say which by a filter: one of the two")]
    Selection,
    /// More letters are named than one request takes.
    #[error("{0} letters are named, and a request takes {most} at most; send the others in further ones", most = super::select::MOST_LETTERS)]
    TooMany(usize),
    /// No such stream keeps letters.
    #[error("no stream {name:?} keeps dead letters; {}", those(.known))]
    NoStream {
        /// What was named.
        name: String,
        /// Those that do.
        known: Vec<String>,
    },
    /// The stream has fewer partitions.
    #[error("there is no partition for the address {0}; waypost dlq list has those of all letters")]
    NoPartition(LetterAddress),
    /// Nothing stands there yet.
    #[error(
        "nothing stands at {address}: its partition ends at {next}; waypost dlq list has what is there"
    )]
    NotThere {
        /// The address.
        address: LetterAddress,
        /// The offset of the next message.
        next: Offset,
    },
    /// The stream's retention took it.
    #[error(
        "{address} was trimmed: its partition begins at {first} now; let the stream keep letters for longer"
    )]
    Trimmed {
        /// The address.
        address: LetterAddress,
        /// The first offset that is still there.
        first: Offset,
    },
    /// What stands there is another message.
    #[error("what stands at {0} is no dead letter; waypost dlq list has the letters")]
    NotALetter(LetterAddress),
    /// It was replayed or purged.
    #[error("{0} has left: it was replayed or purged before")]
    Left(LetterAddress),
    /// Letters left in too many places.
    #[error(transparent)]
    TooScattered(#[from] TooScattered),
    /// Others are leaving.
    #[error(
        "another replay or purge is at work, or waits for storage or for a lane that stalls; see /api/v1/routes, and try again"
    )]
    Busy,
    /// Storage does not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Storage does not write.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

fn those(known: &[String]) -> String {
    if known.is_empty() {
        let hint =
            "none does: give a [[stream]] the topics [\"$dead.>\"] and start the router anew";
        return hint.to_owned();
    }
    format!("those that do are {}", known.join(", "))
}
