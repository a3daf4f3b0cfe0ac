//! Dead letters read again: what they say of themselves, which are asked for, and which have left.
//!
//! What a router writes of a letter is in [`DeadLetters`](crate::DeadLetters), in one order; a [`Letter`] reads
//! it in that order, so that what follows is the message's own. A stream only grows: a letter that was replayed
//! or purged is in the [`SettledLetters`] of its partition from then on.

mod address;
mod filter;
mod settled;
#[cfg(test)]
mod tests;

pub use address::{AddressError, LetterAddress};
pub use filter::LetterFilter;
pub use settled::{MAX_SETTLED_RANGES, SettledLetters, TooScattered};
use waypost_protocol::{
    Batch, BatchBuilder, BatchError, Headers, Limits, MessageView, Offset, dead_letter as header,
};

use crate::{Partition, StreamName, letter_limits};

/// How the topics of dead letters begin; only the router publishes there.
pub const LETTER_TOPICS: &str = "$dead.";

/// Who gave up on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Giver<'a> {
    /// A route.
    Route(&'a str),
    /// A group of consumers.
    Group(&'a str),
}

/// A dead letter and what it says of itself.
#[derive(Debug, Clone)]
pub struct Letter<'a> {
    /// The reason as a code.
    pub reason: &'a str,
    /// The reason in words, with a plugin's backtrace.
    pub error: &'a str,
    /// The topic of the message when it failed.
    pub topic: &'a str,
    /// When the publisher made it.
    pub created_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first.
    pub first_failure_ms: u64,
    /// When it failed last.
    pub last_failure_ms: u64,
    /// Who gave up on it.
    pub giver: Giver<'a>,
    /// Where the message stands that it comes of, if a stream was the source.
    pub source: Option<(Partition, Offset)>,
    /// The stage that it failed in.
    pub stage: Option<&'a str>,
    /// SHA-256 of that stage's artefact.
    pub plugin_digest: Option<&'a str>,
    /// The message's own headers.
    pub headers: Headers<'a>,
    message: MessageView<'a>,
}

/// Takes headers from the front as long as they are those that are expected.
struct Front<'a, I: Iterator<Item = (&'a str, &'a [u8])>> {
    headers: std::iter::Peekable<I>,
    /// The bytes of those that were taken.
    taken: usize,
}

impl<'a, I: Iterator<Item = (&'a str, &'a [u8])>> Front<'a, I> {
    fn take(&mut self, name: &str) -> Option<&'a str> {
        let (found, value) = self.headers.next_if(|(found, _)| *found == name)?;
        // A length byte before the name, two before the value.
        self.taken += 1 + found.len() + 2 + value.len();
        std::str::from_utf8(value).ok()
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        self.take(name)?.parse().ok()
    }

    fn source(&mut self) -> Option<(Partition, Offset)> {
        let stream = StreamName::parse(self.take(header::STREAM)?).ok()?;
        let partition = Partition::new(stream, self.number(header::PARTITION)?);
        Some((partition, Offset(self.number(header::OFFSET)?)))
    }
}

impl<'a> Letter<'a> {
    /// Reads a message; `None` when it is no letter that a router wrote.
    #[must_use]
    pub fn read(message: MessageView<'a>) -> Option<Self> {
        let mut front = Front { headers: message.headers().iter().peekable(), taken: 0 };
        let reason = front.take(header::REASON)?;
        let error = front.take(header::ERROR)?;
        let topic = front.take(header::TOPIC)?;
        let created_ms = front.number(header::CREATED)?;
        let attempts = front.number(header::ATTEMPTS)?;
        let first_failure_ms = front.number(header::FIRST_FAILURE)?;
        let last_failure_ms = front.number(header::LAST_FAILURE)?;
        let giver = match front.take(header::ROUTE) {
            Some(route) => Giver::Route(route),
            None => Giver::Group(front.take(header::GROUP)?),
        };
        let source = front.source();
        let stage = front.take(header::STAGE);
        let plugin_digest = front.take(header::PLUGIN);
        front.take(header::OWN);
        let own = message.headers().as_bytes().get(front.taken..)?;
        let (headers, _) = Headers::check(own).ok()?;
        Some(Self {
            reason,
            error,
            topic,
            created_ms,
            attempts,
            first_failure_ms,
            last_failure_ms,
            giver,
            source,
            stage,
            plugin_digest,
            headers,
            message,
        })
    }

    /// The message's key.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.message.key()
    }

    /// The message's payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.message.payload()
    }

    /// The message as it was when it failed, as a batch of its own.
    ///
    /// # Errors
    ///
    /// The letter says a topic that is none.
    pub fn message(&self) -> Result<Batch, BatchError> {
        // It may have been a letter before.
        let mut builder = BatchBuilder::with_limits(letter_limits(Limits::default()));
        let (key, payload) = (self.key(), self.payload());
        builder.push(self.topic, key, self.headers.as_bytes(), payload, self.created_ms)?;
        builder.finish().ok_or(BatchError::Empty)
    }
}
