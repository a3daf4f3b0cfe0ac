//! `cargo xtask`: what developers and the landing check run.
//!
//! Each task does the set-up that it needs on a machine that has Rust, a C compiler and git.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod chaos;
mod command;
mod counts;
mod demo;
mod fuzz;
mod sim;
mod wasm_target;

use std::process::ExitCode;

use clap::Parser;

/// Developer tasks of Waypost.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Build everything and run a week of earthquakes through a router.
    Demo(demo::Options),
    /// Build the plugins and the test guests, and run every test.
    Test,
    /// Build the plugins into target/plugins.
    Plugins,
    /// Compare a router with a bare QUIC relay and with other brokers, all with optimisation.
    Bench(bench::Options),
    /// Count the instructions of the hot pieces under valgrind, and hold them against the recorded ones.
    Counts(counts::Options),
    /// Kill the router again and again under a test application, and check what clients saw.
    Chaos(chaos::Options),
    /// Run each fuzz target for so many executions each.
    Fuzz(fuzz::Options),
    /// Simulate clients, router, storage and clocks from seeds, and check every promise of delivery.
    Sim(sim::Options),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Demo(options) => demo::run(&options),
        Task::Test => test(),
        Task::Plugins => build::plugins().map(|_| ()),
        Task::Bench(options) => bench::run(&options),
        Task::Counts(options) => counts::check(&options),
        Task::Chaos(options) => chaos::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Sim(options) => sim::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn test() -> anyhow::Result<()> {
    build::plugins()?;
    build::guests()?;
    build::faults()?;
    command::cargo(&["test", "--workspace", "--locked"])
}
