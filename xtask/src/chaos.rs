//! Builds the application that is killed together with its router, and runs it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::{
    build,
    command::{cargo, target},
};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often the router is killed.
    #[arg(long, default_value_t = 100)]
    cycles: u32,
    /// What decides the load and the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Cut the power: whatever was not synced is lost.
    #[arg(long, conflicts_with = "faults")]
    power_cuts: bool,
    /// Fail writes and syncs, and kill the router within them.
    #[arg(long)]
    faults: bool,
    /// Print one JSON object on one line of standard output.
    #[arg(long)]
    json: bool,
}

/// Builds without optimisation, as the tests do, so that checks of arithmetic and assertions of libraries are in.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let router = build::router()?;
    cargo(&["build", "--locked", "--package", "waypost-tests", "--bin", "waypost-chaos"])?;
    let (guests, plugins) = (build::guests()?, build::plugins()?);
    let mut command = Command::new(target().join("debug/waypost-chaos"));
    command.arg("run").arg("--router").arg(router);
    command.arg("--cycles").arg(options.cycles.to_string());
    command.arg("--seed").arg(options.seed.to_string());
    for (folder, name) in [(guests, "wavering"), (plugins, "transform-json")] {
        let file = folder.join(format!("{name}.wasm"));
        command.arg("--plugin").arg(format!("{name}={}", file.display()));
    }
    if options.power_cuts || options.faults {
        command.arg("--deaths").arg(if options.faults { "fault" } else { "power-cut" });
        command.arg("--faults").arg(build::faults()?);
    }
    if options.json {
        command.arg("--json");
    }
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("{command:?} did not start"))?;
    ensure!(status.success(), "the application ended with {status}: seed {}", options.seed);
    Ok(())
}
