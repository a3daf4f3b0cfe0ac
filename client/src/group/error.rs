//! Why what a member said of a message does not hold.

use std::sync::Arc;

use crate::{RouterCode, error::Hint};

/// What a member said of a message does not hold, or it is not known whether it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The connection that the message came on was lost: it is given out again, to this member or another.
    #[error("the message was given out on a connection that is lost; it comes again")]
    Gone,
    /// The router refused it.
    #[error("the router refused it with {code}: {message}{}", Hint(*.code))]
    Refused {
        /// Why, as a number; `STALE_LEASE` when the message was given out again meanwhile.
        code: RouterCode,
        /// Why, in the router's words.
        message: Arc<str>,
    },
    /// The connection was lost before the answer came: the message may come again.
    #[error("the connection was lost before it was known; the message may come again")]
    Unknown,
}
