//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

/// Load for Waypost, and the limit to hold it against.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure a bare QUIC relay on this machine: the limit.
    Relay(Load),
    /// Measure a running router.
    Forward(Forward),
    /// The processes of the above, which it starts itself.
    #[command(hide = true)]
    RelayNode,
    #[command(hide = true)]
    RelayProducer,
    #[command(hide = true)]
    RelayConsumer,
    #[command(hide = true)]
    ForwardProducer,
    #[command(hide = true)]
    ForwardConsumer,
}

/// How much of what, for how long.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Messages in a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(crate) batch: u32,
    /// Bytes of a payload, a JSON object with the message's sequence number.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(48..=1_048_576))]
    pub(crate) size: u32,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Seconds of the same load before that, which do not count.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=60))]
    pub(crate) warm_up: u32,
}

#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub(crate) struct Forward {
    /// Where the router listens.
    #[arg(long, default_value = "127.0.0.1:4433")]
    pub(crate) address: String,
    /// The authority to trust, in PEM; the router names the file at its start.
    #[arg(long)]
    pub(crate) ca: PathBuf,
    /// The topic to publish to.
    #[arg(long)]
    pub(crate) topic_in: String,
    /// The pattern to subscribe to: where the router's route leads, or the topic itself.
    #[arg(long)]
    pub(crate) topic_out: String,
    /// The router's process, to count its CPU time.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    #[command(flatten)]
    pub(crate) load: Load,
}
