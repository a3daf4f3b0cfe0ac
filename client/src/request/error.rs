//! Why a request has no reply.

use std::{sync::Arc, time::Duration};

use crate::{Disconnected, PublishError, RouterCode, SubscribeError, error::Hint};

/// How a request ended that got no reply.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No subscription and no route takes the topic.
    #[error("nobody answers on {topic} (NO_RESPONDER); start a responder, or check the topic")]
    NoResponder {
        /// Where it was sent.
        topic: String,
    },
    /// No reply came in time. The request may have been taken, and may still be.
    #[error("no reply within {after:?}; the request may have been taken nevertheless")]
    DeadlineExceeded {
        /// How long was waited.
        after: Duration,
    },
    /// The connection was lost, or this side closed, before a reply came. The request may or may not
    /// have been taken, and its reply reaches nobody.
    #[error("whether the request was taken is unknown: {reason}")]
    Unknown {
        /// What happened.
        reason: Disconnected,
    },
    /// The router refused it. It was certainly not taken.
    #[error("the router refused the request with {code}: {message}{}", Hint(*.code))]
    Rejected {
        /// Why, as a number.
        code: RouterCode,
        /// Why, in the router's words.
        message: Arc<str>,
    },
    /// It was not sent.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// There is no inbox to receive a reply on, so it was not sent.
    #[error("there is no inbox for the reply: {0}")]
    Inbox(#[from] SubscribeError),
}
