//! `waypost dlq`: the dead letters of a running router, and letters that leave.

mod choose;
mod leave;
mod list;
mod show;
mod trial;

use super::{Failure, connection::runtime};

/// What to do with dead letters.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List the dead letters that streams keep, or count them by who gave up on them and why.
    List(list::Options),
    /// Show a dead letter: why it is one, its headers and its payload.
    Show(show::Options),
    /// Send dead letters on their way again; each leaves once that is committed.
    Replay(leave::Replay),
    /// Let dead letters leave for good.
    Purge(leave::Purge),
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match action {
            Action::List(options) => list::run(options).await,
            Action::Show(options) => show::run(options).await,
            Action::Replay(options) => leave::replay(options).await,
            Action::Purge(options) => leave::purge(options).await,
        }
    })
}
