//! Requests and replies: the headers that make a message a request, and the inboxes that replies go to.
//!
//! A request is a message with [`REPLY_TO`], [`CORRELATION`] and [`DEADLINE`]; routes keep them, as they
//! keep every header. A reply is a message to the inbox with the request's correlation.

use std::{fmt, str::FromStr};

use crate::ConnectionId;

/// The inbox that the reply goes to.
pub const REPLY_TO: &str = "wp-reply-to";
/// What the requester knows the request by; a reply carries the same bytes.
pub const CORRELATION: &str = "wp-correlation";
/// When the requester stops waiting, in milliseconds since the Unix epoch, in decimal.
pub const DEADLINE: &str = "wp-deadline";

/// The first level of every inbox.
const LEVEL: &str = "$inbox";

/// A topic on which one connection receives replies: `$inbox.<connection>-<secret>`, the secret being
/// 32 digits of lower-case hexadecimal.
///
/// The connection's number lets the router see whose it is. The secret, which the client draws, keeps
/// others from writing there unless they were handed it with a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inbox {
    /// The connection that alone may subscribe to it.
    pub owner: ConnectionId,
    /// 128 random bits.
    pub secret: u128,
}

/// Why text names no inbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an inbox is $inbox.<connection>-<32 digits of lower-case hexadecimal>, without a wildcard"
)]
pub struct InboxError;

impl Inbox {
    /// Whether a topic or a pattern lies where inboxes do, well formed or not.
    #[must_use]
    pub fn covers(text: &str) -> bool {
        text.strip_prefix(LEVEL).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Parses the topic of an inbox. There is one way to write each.
    ///
    /// # Errors
    ///
    /// Any other text, patterns with a wildcard among them.
    pub fn parse(text: &str) -> Result<Self, InboxError> {
        let name = text.strip_prefix(LEVEL).and_then(|rest| rest.strip_prefix('.'));
        let (owner, secret) = name.and_then(|name| name.split_once('-')).ok_or(InboxError)?;
        let owner = owner.parse().map(ConnectionId).map_err(|_| InboxError)?;
        let secret = u128::from_str_radix(secret, 16).map_err(|_| InboxError)?;
        let inbox = Self { owner, secret };
        // Numbers may be written in more than one way: with a sign, with zeros, with capitals.
        if inbox.to_string() == text { Ok(inbox) } else { Err(InboxError) }
    }
}

impl FromStr for Inbox {
    type Err = InboxError;

    fn from_str(text: &str) -> Result<Self, InboxError> {
        Self::parse(text)
    }
}

impl fmt::Display for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{LEVEL}.{}-{:032x}", self.owner, self.secret)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows the secret may write there, so it does not belong in logs.
        write!(formatter, "Inbox({})", self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;

    const TEXT: &str = "$inbox.7-000000000000000000000000000000ff";

    #[test]
    fn an_inbox_is_a_topic_that_names_its_owner() {
        let inbox = Inbox { owner: ConnectionId(7), secret: 255 };
        assert_eq!(inbox.to_string(), TEXT);
        assert_eq!(Inbox::parse(TEXT), Ok(inbox));
        Topic::parse(TEXT).expect("it is within the grammar");
        let longest = Inbox { owner: ConnectionId(u64::MAX), secret: u128::MAX };
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }

    #[test]
    fn nothing_else_names_an_inbox() {
        for text in [
            "$inbox",
            "$inbox.>",
            "$inbox.*",
            "$inbox.7",
            "$inbox.7-ff",
            "$inbox.07-000000000000000000000000000000ff",
            "$inbox.+7-000000000000000000000000000000ff",
            "$inbox.7-000000000000000000000000000000FF",
            "$inbox.7-000000000000000000000000000000ff.a",
            "$inbox.7-0000000000000000000000000000000ff",
            "$dead.7-000000000000000000000000000000ff",
            "",
        ] {
            assert_eq!(Inbox::parse(text), Err(InboxError), "{text}");
        }
    }

    #[test]
    fn a_name_that_only_begins_alike_lies_elsewhere() {
        for (text, expected) in [
            (TEXT, true),
            ("$inbox", true),
            ("$inbox.>", true),
            ("$inboxes.a", false),
            ("a", false),
        ] {
            assert_eq!(Inbox::covers(text), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let inbox = Inbox { owner: ConnectionId(7), secret: 0xdead_beef };
        assert!(!format!("{inbox:?}").contains("deadbeef"));
    }
}
