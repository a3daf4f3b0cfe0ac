//! Which letters are asked for.

use super::{Giver, Letter};

/// What a letter must be to be meant; everything that is not said is open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LetterFilter {
    /// The route that gave up on it.
    pub route: Option<String>,
    /// The group that gave up on it.
    pub group: Option<String>,
    /// The reason's code.
    pub reason: Option<String>,
    /// It failed last at this time or later, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// It failed last before this time.
    pub until_ms: Option<u64>,
}

impl LetterFilter {
    /// Whether a letter is meant.
    #[must_use]
    pub fn takes(&self, letter: &Letter<'_>) -> bool {
        let Self { route, group, reason, since_ms, until_ms } = self;
        let is_givers = match letter.giver {
            Giver::Route(name) => group.is_none() && route.as_deref().is_none_or(|it| it == name),
            Giver::Group(name) => route.is_none() && group.as_deref().is_none_or(|it| it == name),
        };
        is_givers
            && reason.as_deref().is_none_or(|code| code == letter.reason)
            && since_ms.is_none_or(|since| letter.last_failure_ms >= since)
            && until_ms.is_none_or(|until| letter.last_failure_ms < until)
    }
}
