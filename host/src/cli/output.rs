//! How commands print what a router told them.

use std::io::{self, IsTerminal as _};

/// Digits of a digest that are shown to people.
const SHORT_DIGEST: usize = 12;

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// JSON, each object on one line.
    Json,
    /// For people.
    Pretty,
}

impl Format {
    /// What was said; otherwise pretty on a terminal and JSON elsewhere.
    pub(super) fn or_default(said: Option<Self>) -> Self {
        let default = if io::stdout().is_terminal() { Self::Pretty } else { Self::Json };
        said.unwrap_or(default)
    }
}

/// A number of things, as people say it.
pub(super) fn counted(number: u64, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

/// The beginning of a digest, which is enough to tell it from others.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..SHORT_DIGEST).unwrap_or(digest)
}
