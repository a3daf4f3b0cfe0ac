//! Why a message was not taken for publishing.

use waypost_protocol::{BadTtl, BatchError, ErrorCode, HeaderError, TopicError};

use crate::Disconnected;

/// The message or batch was not taken, and nothing of it was sent.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic breaks the grammar.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The topic belongs to the router.
    #[error(
        "the topic {0} belongs to the router; publish to one that does not begin with $, or to an inbox"
    )]
    SystemTopic(String),
    /// A header breaks its bounds.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It is no time to live.
    #[error(transparent)]
    Ttl(#[from] BadTtl),
    /// There are more headers than agreed with the router.
    #[error("the message has {count} headers, {limit} are agreed with the router")]
    TooManyHeaders {
        /// The headers there are.
        count: usize,
        /// The limit.
        limit: u16,
    },
    /// The message is larger than agreed with the router.
    #[error(
        "the message has {bytes} bytes, {limit} are agreed with the router; split it, or carry a \
         reference to its content"
    )]
    MessageTooLarge {
        /// Its topic, key, headers and payload.
        bytes: usize,
        /// The limit.
        limit: u32,
    },
    /// A prepared batch is larger than agreed with the router.
    #[error(transparent)]
    Batch(BatchError),
    /// A prepared batch belongs to several streams or partitions.
    #[error(
        "the batch belongs to several streams or partitions; publish its messages one by one, or a batch for each"
    )]
    Scattered,
    /// What was to be replied to asks for no reply.
    #[error("the message is no request: it names no inbox that a reply could go to")]
    NoRequest,
    /// Nothing is published here any more.
    #[error("the publisher is closed: {0}")]
    Closed(#[from] Disconnected),
}

impl PublishError {
    /// The code with which the router would have refused it; there is none for what this side alone
    /// knows.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        Some(match self {
            Self::Topic(error) => error.code(),
            Self::SystemTopic(_) => ErrorCode::SystemTopic,
            Self::Header(HeaderError::BadName(_)) => ErrorCode::BadUtf8,
            Self::Header(_) => ErrorCode::BadBatch,
            Self::TooManyHeaders { .. } => ErrorCode::TooManyHeaders,
            Self::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Batch(error) => error.code(),
            Self::Scattered => ErrorCode::Misplaced,
            Self::Ttl(_) => ErrorCode::BadTtl,
            Self::NoRequest | Self::Closed(_) => return None,
        })
    }

    /// What the builder says of one message, without its place in the batch, which means nothing to
    /// who publishes it.
    pub(super) fn of_message(error: BatchError) -> Self {
        match error {
            BatchError::Topic { source, .. } => Self::Topic(source),
            BatchError::Header { source, .. } => Self::Header(source),
            BatchError::TooManyHeaders { count, limit, .. } => {
                Self::TooManyHeaders { count, limit }
            }
            BatchError::MessageTooLarge { bytes, limit, .. } => {
                Self::MessageTooLarge { bytes, limit }
            }
            // Of a batch with this one message: the frame could not carry it.
            BatchError::TooManyBytes { bytes, limit } => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                Self::MessageTooLarge { bytes, limit }
            }
            other => Self::Batch(other),
        }
    }
}
