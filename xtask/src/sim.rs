//! Builds the simulator with optimisation, and lets it tell stories.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::command::{cargo, target};

/// Which stories to tell.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Tell what happens in this seed alone, line by line.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    trace: Option<u64>,
    /// Print the counts as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the stories; a promise that is broken in one of them ends this with an error.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    cargo(&["build", "--locked", "--release", "--package", "waypost-sim"])?;
    let mut command = Command::new(target().join("release/waypost-sim"));
    match options.trace {
        Some(seed) => command.args(["--trace", &seed.to_string()]),
        None => {
            let (seeds, from) = (options.seeds.to_string(), options.from.to_string());
            command.args(["--seeds", &seeds, "--from", &from])
        }
    };
    if options.json {
        command.arg("--json");
    }
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("{command:?} did not start"))?;
    ensure!(status.success(), "a promise was broken: the simulator ended with {status}");
    Ok(())
}
