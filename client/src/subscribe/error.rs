//! Why there is no subscription, or no longer one.

use std::{sync::Arc, time::Duration};

use waypost_protocol::PatternError;

use crate::{Disconnected, RouterCode, error::Hint};

/// The subscription does not stand, or has ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The pattern breaks the grammar.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// More bytes of credit than a stream's window, in which deliveries of several subscriptions
    /// would then block each other.
    #[error("a subscription's credit is {bytes} bytes, at most {limit} are allowed")]
    CreditTooLarge {
        /// What was asked for.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The router refused or ended it.
    #[error("the router ended the subscription with {code}: {message}{}", Hint(*.code))]
    Rejected {
        /// Why, as a number.
        code: RouterCode,
        /// Why, in the router's words.
        message: Arc<str>,
    },
    /// The router did not answer.
    #[error("the router did not answer the subscribe within {after:?}")]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// There is no connection any more.
    #[error("the subscription ended: {0}")]
    Disconnected(#[from] Disconnected),
}
