//! The load tool alone, which builds in a fraction of the time that the whole `waypost` command takes.
#![forbid(unsafe_code)]

use clap::Parser;
use waypost_bench::{Options, Program};

/// Load for Waypost, and the limit to hold it against.
#[derive(Debug, Parser)]
#[command(name = "waypost-bench", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> anyhow::Result<()> {
    waypost_bench::run(Arguments::parse().options, &Program::current(&[])?)
}
