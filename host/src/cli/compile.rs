//! `waypost compile-artefact`, hidden: the child process in which a router has an artefact compiled.

use std::path::PathBuf;

use super::Failure;
use crate::wasm::{CompileLimits, compile_as_child};

/// What the parent says.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The folder of compiled artefacts.
    folder: PathBuf,
    /// Seconds of CPU time.
    seconds: u64,
    /// Bytes of address space.
    memory_bytes: u64,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let Options { folder, seconds, memory_bytes } = options;
    let limits = CompileLimits { seconds: *seconds, memory_bytes: *memory_bytes };
    Ok(compile_as_child(folder, limits)?)
}
