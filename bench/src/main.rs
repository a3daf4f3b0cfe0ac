//! Load for Waypost, and the limit to hold it against.
//!
//! `relay` measures what these machines, this QUIC library and these bytes allow at all: a producer, a
//! relay that only forwards frames, and a consumer, three processes with a current-thread runtime each.
//! `forward` sends the same messages from the same producer through a running router to the same
//! consumer. Both print one JSON object.
//!
//! A lone number of either says little: quote the ratio of the two, out of runs that alternate on
//! one machine.
#![forbid(unsafe_code)]

mod cpu;
mod forward;
mod framing;
mod measure;
mod options;
mod process;
mod relay;
mod report;
mod tally;
mod transport;
mod window;
mod workload;

use clap::Parser as _;
use options::{Command, Options};

fn main() -> anyhow::Result<()> {
    // Threads would only cost: a bare relay lost a fifth on the multi-thread runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(Options::parse().command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Relay(load) => report::print(&relay::measure(load).await?),
        Command::Forward(options) => report::print(&forward::measure(options).await?),
        Command::RelayNode => process::bounded(relay::node()).await,
        Command::RelayProducer => process::bounded(relay::producer()).await,
        Command::RelayConsumer => process::bounded(relay::consumer()).await,
        Command::ForwardProducer => process::bounded(forward::producer()).await,
        Command::ForwardConsumer => process::bounded(forward::consumer()).await,
    }
}
