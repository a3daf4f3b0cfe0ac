//! Where a letter stands, as operators write it.

use std::{fmt, str::FromStr};

use waypost_protocol::Offset;

use crate::{Partition, StreamName};

/// A letter's place: `STREAM/PARTITION/OFFSET`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterAddress {
    /// The partition that keeps it.
    pub partition: Partition,
    /// Its offset there.
    pub offset: Offset,
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no letter's address; write STREAM/PARTITION/OFFSET as waypost dlq list shows it")]
pub struct AddressError(String);

impl fmt::Display for LetterAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.partition, self.offset)
    }
}

impl FromStr for LetterAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (rest, offset) = text.rsplit_once('/')?;
            let (stream, index) = rest.split_once('/')?;
            let stream = StreamName::parse(stream).ok()?;
            let partition = Partition::new(stream, index.parse().ok()?);
            Some(Self { partition, offset: Offset(offset.parse().ok()?) })
        };
        parsed().ok_or_else(|| AddressError(text.chars().take(120).collect()))
    }
}
