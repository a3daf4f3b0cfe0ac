//! Frames: what travels on a stream.
//!
//! All numbers are little-endian. A prefix of 8 bytes:
//!
//! | at | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | length of the body, which is everything behind the prefix |
//! | 4 | 1 | kind |
//! | 5 | 1 | reserved, 0 |
//! | 6 | 2 | length of the control part |
//!
//! then the control part, a protobuf message of `proto/waypost.proto`, and for [`Frame::Publish`]
//! and [`Frame::Deliver`] a batch, which fills the rest of the body. Other kinds end with their
//! control part.

mod codec;
mod decoder;
#[cfg(test)]
mod tests;

use bytes::Bytes;
pub use codec::{FrameError, Prefix};
pub use decoder::FrameDecoder;

pub use crate::proto::{
    Acknowledge, Acknowledged, Committed, Credit, Deliver, Error, Extend, GoingAway, Hello, Join,
    Joined, Lease, Nack, OpenProducer, Ping, PlaceRange, Pong, Position, ProducerOpened, Publish,
    PublishResult, ReadFrom, Refusal, Reject, Rejected, Settle, Stream, Subscribe, Subscribed,
    Unsubscribe, Welcome, publish_result::Outcome, read_from::Start, settle::Verb,
};
use crate::{ErrorCode, Limits, LimitsError, proto};

/// The bytes of a prefix.
pub const PREFIX_BYTES: usize = 8;
/// The protocol version of these frames, as hello and welcome name it.
pub const PROTOCOL_VERSION: u32 = 1;

/// One frame. A batch in it is not yet decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Client to router, first on the control stream.
    Hello(Hello),
    /// Router to client, the answer to hello.
    Welcome(Welcome),
    /// Client to router on a publish stream: a batch.
    Publish(Publish, Bytes),
    /// Router to client on a publish stream: one for each publish.
    PublishResult(PublishResult),
    /// Client to router, first on a subscription's stream.
    Subscribe(Subscribe),
    /// Router to client, the answer to subscribe.
    Subscribed(Subscribed),
    /// Router to client on a subscription's stream: a batch within the credit.
    Deliver(Deliver, Bytes),
    /// Client to router on a subscription's stream: more credit.
    Credit(Credit),
    /// Client to router on a subscription's stream: no more deliveries.
    Unsubscribe(Unsubscribe),
    /// Either way on the control stream.
    Ping(Ping),
    /// The answer to ping, with its nonce.
    Pong(Pong),
    /// Router to client on the control stream: it stops.
    GoingAway(GoingAway),
    /// Client to router on a publish stream: who publishes to streams there.
    OpenProducer(OpenProducer),
    /// Router to client, the answer to open producer.
    ProducerOpened(ProducerOpened),
    /// Client to router on the stream of a member of a group: what becomes of messages that it holds.
    Acknowledge(Acknowledge),
    /// Router to client, the answer to acknowledge.
    Acknowledged(Acknowledged),
    /// Router to client on any stream: why this conversation ends.
    Error(Error),
}

impl Frame {
    /// An error frame.
    #[must_use]
    pub fn error(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Error(Error { code: code.number(), message: message.into() })
    }
}

impl From<Limits> for proto::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            max_frame_bytes: limits.max_frame_bytes,
            max_batch_messages: limits.max_batch_messages,
            max_message_bytes: limits.max_message_bytes,
            max_headers: limits.max_headers.into(),
        }
    }
}

/// The limits that hold after a peer has named its own; one that names none accepts ours.
///
/// # Errors
///
/// A limit that is too small to work with.
pub fn negotiate(ours: Limits, theirs: Option<&proto::Limits>) -> Result<Limits, LimitsError> {
    let Some(theirs) = theirs else {
        return Ok(ours);
    };
    ours.negotiate(Limits {
        max_frame_bytes: theirs.max_frame_bytes,
        max_batch_messages: theirs.max_batch_messages,
        max_message_bytes: theirs.max_message_bytes,
        max_headers: u16::try_from(theirs.max_headers).unwrap_or(u16::MAX),
    })
}
