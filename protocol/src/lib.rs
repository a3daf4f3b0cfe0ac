//! Waypost's wire and log format: topics and patterns, batches, frames, limits and error codes.
//!
//! Everything here is pure: no IO, no clock, no randomness, nothing asynchronous. A client in
//! another language can be written from `docs/protocol.md` alone.
#![forbid(unsafe_code)]

mod batch;
pub mod dead_letter;
#[cfg(feature = "frames")]
mod envelope;
mod error;
#[cfg(feature = "frames")]
pub mod frame;
mod hash;
mod ids;
mod limits;
#[cfg(feature = "frames")]
mod proto;
pub mod request;
mod topic;
mod ttl;

pub use batch::{
    Batch, BatchBuilder, BatchError, Column, CreatedColumn, HeaderError, Headers, HeadersBuilder,
    KeyColumn, LAYOUT_VERSION, MessageView,
};
#[cfg(feature = "frames")]
pub use envelope::{Envelope, EnvelopeError, Producer, StageRun};
pub use error::ErrorCode;
#[cfg(feature = "frames")]
pub use frame::{Frame, FrameDecoder, FrameError, PREFIX_BYTES, Prefix};
pub use hash::{key_hash, partition_of};
pub use ids::{ConnectionId, Epoch, Offset, ProducerId, Sequence, SubscriptionId};
pub use limits::{
    Limits, LimitsError, MAX_BATCH_MESSAGES, MAX_FRAME_BYTES, MAX_HEADERS, MAX_MESSAGE_BYTES,
    MAX_TOPIC_BYTES, MAX_TOPIC_LEVELS,
};
pub use request::{Inbox, InboxError};
pub use topic::{Pattern, PatternError, PatternLevel, Topic, TopicError, check_topic};
pub use ttl::{BadTtl, TTL, TimeToLive};

/// The application protocol that both sides name in the TLS handshake.
pub const ALPN: &[u8] = b"waypost/1";
