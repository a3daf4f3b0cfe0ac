//! `waypost plugin`: from a plugin's source to the versions that a router runs.

mod deployed;

use super::{Failure, connection::runtime};

/// What to do with plugins.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Print what runs: versions, since when, what they did, and which stages wait for a version that works.
    List(deployed::List),
    /// Deploy an artefact to a running router; it is swapped in if every stage that uses it accepts it.
    Deploy(deployed::Deploy),
    /// Go back to the version that ran before, or to an earlier one.
    Rollback(deployed::Rollback),
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::List(options) => runtime()?.block_on(deployed::list(options)),
        Action::Deploy(options) => runtime()?.block_on(deployed::deploy(options)),
        Action::Rollback(options) => runtime()?.block_on(deployed::rollback(options)),
    }
}
