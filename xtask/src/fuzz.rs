//! The fuzz targets of the protocol.

use std::process::Command;

use anyhow::Context as _;

use crate::command::{self, output, root};

/// Each target, and the test vectors that it begins with.
const TARGETS: [(&str, [&str; 2]); 3] = [
    ("frame_decoder", ["vectors/v1/frame", "vectors/v1/invalid-frame"]),
    ("batch_view", ["vectors/v1/batch", "vectors/v1/invalid-batch"]),
    ("envelope_decoder", ["vectors/v1/envelope", "vectors/v1/invalid-envelope"]),
];

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
    let protocol = root().join("protocol");
    for (target, seeds) in TARGETS {
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(protocol.join(&corpus))?;
        let mut command = Command::new(env!("CARGO"));
        command
            .current_dir(&protocol)
            // A stable compiler takes the instrumentation's flags with this.
            .env("RUSTC_BOOTSTRAP", "1")
            // There is no unsafe code for a sanitizer to watch; without it several times as much is tried.
            .args(["fuzz", "run", "--sanitizer", "none", target, &corpus])
            .args(seeds)
            .args(["--", &format!("-runs={}", options.runs)]);
        command::run(&mut command)?;
    }
    Ok(())
}
