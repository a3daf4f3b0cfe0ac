//! Which attribute stands at a function, and what its function looks like.

use std::fmt;

/// Which attribute stands at the function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Filter,
    Transform,
    Router,
    Upcast,
}

impl Role {
    /// The function to write.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Filter => "fn name(message: &Message) -> Result<bool>",
            Self::Transform => "fn name(message: &Message) -> Result<Outgoing>",
            Self::Router => "fn name(message: &Message) -> Result<String>",
            Self::Upcast => "fn name(old: OldVersion) -> Result<NewVersion>",
        }
    }

    /// Its first parameter in words.
    pub(crate) fn takes(self) -> &'static str {
        match self {
            Self::Upcast => "the old version's value",
            Self::Filter | Self::Transform | Self::Router => "the message",
        }
    }
}

/// As it stands in a sentence.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter => "a #[filter]",
            Self::Transform => "a #[transform]",
            Self::Router => "a #[router]",
            Self::Upcast => "an #[upcast]",
        })
    }
}
