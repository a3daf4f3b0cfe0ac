//! The fuzz targets of the protocol.

use std::process::Command;

use anyhow::Context as _;

use crate::command::{self, output, root};

const TARGETS: [&str; 2] = ["frame_decoder", "batch_view"];

/// How long to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Executions of each target.
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
}

/// Runs each target; a finding ends it with an error.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    output(Command::new(env!("CARGO")).args(["fuzz", "--version"]))
        .context("cargo-fuzz is missing: cargo install cargo-fuzz --locked")?;
    for target in TARGETS {
        let runs = format!("-runs={}", options.runs);
        command::run(
            Command::new(env!("CARGO"))
                .current_dir(root().join("protocol"))
                // A stable compiler takes the instrumentation's flags with this.
                .env("RUSTC_BOOTSTRAP", "1")
                .args(["fuzz", "run", target, "--", &runs]),
        )?;
    }
    Ok(())
}
