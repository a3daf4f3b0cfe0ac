//! `waypost plugin`: from a plugin's source to the versions that a router runs.

mod build;
mod deployed;
mod new;
mod test;

use std::sync::Arc;

use super::{Failure, connection::runtime};
use crate::wasm::{Compiler, Sandbox, SandboxMetrics};

/// What to do with plugins.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Make a crate for a plugin that builds and passes its tests as it stands.
    New(new::New),
    /// Build a plugin's crate, and say where its artefact is.
    Build(build::Build),
    /// Run messages through an artefact as a router would, and print what becomes of each.
    Test(test::Test),
    /// Print what runs: versions, since when, what they did, and which stages wait for a version that works.
    List(deployed::List),
    /// Deploy an artefact to a running router; it is swapped in if every stage that uses it accepts it.
    Deploy(deployed::Deploy),
    /// Go back to the version that ran before, or to an earlier one.
    Rollback(deployed::Rollback),
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::New(options) => new::new(options),
        Action::Build(options) => build::build(options),
        Action::Test(options) => test::test(options),
        Action::List(options) => runtime()?.block_on(deployed::list(options)),
        Action::Deploy(options) => runtime()?.block_on(deployed::deploy(options)),
        Action::Rollback(options) => runtime()?.block_on(deployed::rollback(options)),
    }
}

/// A sandbox away from any router.
fn sandbox() -> anyhow::Result<Sandbox> {
    let metrics = SandboxMetrics::register(&prometheus::Registry::new())?;
    Ok(Sandbox::new(Compiler::InProcess, Arc::new(metrics))?)
}
