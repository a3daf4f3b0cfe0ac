//! Builds what is compared, and compares.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

use crate::{
    build,
    command::{cargo, root, target},
};

/// How to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Shorter runs and fewer rounds: within five minutes, builds aside.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object on standard output; everything else goes to standard error.
    #[arg(long)]
    json: bool,
    /// Write the page into this file. A full comparison writes docs/benchmarks.md if nothing is said.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

/// Where a full comparison is written.
const DOCUMENT: &str = "docs/benchmarks.md";

/// Builds with optimisation, gathers the plugins, and runs the comparison.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // Built apart, as together each would be built with what the other one needs of common crates.
    cargo(&["build", "--locked", "--release", "--package", "waypost", "--bin", "waypost"])?;
    cargo(&["build", "--locked", "--release", "--package", "waypost-bench", "--features", "nats"])?;
    let plugins = gather()?;
    let release = target().join("release");
    let mut command = Command::new(release.join("waypost-bench"));
    command.arg("compare").arg("--router").arg(release.join("waypost"));
    command.arg("--plugins").arg(plugins);
    let document = options.document.clone();
    let document = document.or_else(|| (!options.quick).then(|| root().join(DOCUMENT)));
    if let Some(file) = document {
        command.arg("--document").arg(file);
    }
    command.arg("--output").arg(if options.json { "json" } else { "pretty" });
    if options.quick {
        command.arg("--quick");
    }
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("{command:?} did not start"))?;
    ensure!(status.success(), "the comparison ended with {status}");
    Ok(())
}

/// Puts the plugins that scenarios use into one folder.
fn gather() -> anyhow::Result<PathBuf> {
    let folder = target().join("bench/plugins");
    fs::create_dir_all(&folder)?;
    let (guests, plugins) = (build::guests()?, build::plugins()?);
    for (from, name) in
        [(&guests, "byte-filter"), (&guests, "wavering"), (&plugins, "transform-json")]
    {
        let file = format!("{name}.wasm");
        let from = from.join(&file);
        fs::copy(&from, folder.join(&file)).with_context(|| from.display().to_string())?;
    }
    Ok(folder)
}
