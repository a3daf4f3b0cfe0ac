//! The command line.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    compare, idle,
    load::Load,
    process::{Part, Program},
    scenario::{OwnPlugin, Routers, Running, Scenario, Through},
    target::Target,
};

/// What to measure.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A bare QUIC relay on this machine, which decides nothing: the limit.
    Relay(Relay),
    /// From publisher to subscriber without a route.
    Forward(Routed),
    /// Through a route with one Wasm stage that looks at each payload and keeps it.
    Filter(Staged),
    /// Through a route with four such stages.
    Chain(Staged),
    /// Through a route with one Wasm stage that writes each JSON payload anew.
    Transform(Staged),
    /// From a publisher to several subscribers.
    Fanout {
        /// Subscribers, each on a connection of its own.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
        subscribers: u16,
        #[command(flatten)]
        routed: Routed,
    },
    /// Requests and their replies; batches are as the client makes them.
    Request {
        /// Requests that wait for their replies at a time, at most.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
        in_flight: u16,
        #[command(flatten)]
        routed: Routed,
    },
    /// To members of a group, who share the messages and acknowledge each.
    Group {
        /// Members, each on a connection of its own.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
        members: u16,
        /// Over a stream with a partition for each member, in place of a memory topic.
        #[arg(long)]
        durable: bool,
        #[command(flatten)]
        routed: Routed,
    },
    /// Into a stream that is synced before each acknowledgement, and from it to a subscriber;
    /// acknowledgements count.
    Durable(Routed),
    /// From a stream through a route with one Wasm stage into another stream, and from it to a subscriber.
    DurableRoute(Staged),
    /// All features at once: durable streams and a route between them, retries, dead letters, a group,
    /// a memory route, requests, metrics and a tap.
    Everything(Everything),
    /// What connections over which nothing goes take of the router's memory.
    Idle(idle::Options),
    /// All scenarios in turns, and beside other brokers; what `cargo xtask bench` runs.
    Compare(compare::Options),
    /// A process of a measurement, which it starts itself.
    #[command(hide = true)]
    Part {
        /// Which one.
        part: Part,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Relay {
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Routed {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Measure the bare relay as well, before each run, and hold the figures against it.
    #[arg(long)]
    pub(crate) limit: bool,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) router: Router,
}

#[derive(Debug, Args)]
pub(crate) struct Staged {
    /// Where the plugins are: `byte-filter.wasm` and `transform-json.wasm`.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench/plugins")]
    pub(crate) plugins: PathBuf,
    /// A plugin of your own in the stage's place. It must keep every message and what begins its payload;
    /// what it drops counts as lost.
    #[arg(long, value_name = "FILE", conflicts_with = "address")]
    pub(crate) plugin: Option<PathBuf>,
    /// That plugin's configuration, a JSON object.
    #[arg(long, value_name = "JSON", requires = "plugin", value_parser = object)]
    pub(crate) config: Option<serde_json::Value>,
    #[command(flatten)]
    pub(crate) routed: Routed,
}

#[derive(Debug, Args)]
pub(crate) struct Everything {
    /// Where the plugins are: `byte-filter.wasm`, `transform-json.wasm` and `wavering.wasm`.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench/plugins")]
    pub(crate) plugins: PathBuf,
    #[command(flatten)]
    pub(crate) routed: Routed,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How often to measure; median, smallest and largest figure are told.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) repeats: u16,
    #[command(flatten)]
    pub(crate) form: Form,
    /// Write a page with latency curves and the throughput over time as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// How to print what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object.
    Json,
    /// For people.
    Pretty,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Form {
    /// How to print what was measured; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
}

impl Form {
    /// What was said, or what goes with standard output.
    pub(crate) fn is_json(self) -> bool {
        match self.output {
            Some(format) => format == Format::Json,
            None => !io::stdout().is_terminal(),
        }
    }
}

/// Which router: one that is started for each run, or one that runs.
#[derive(Debug, Args)]
pub(crate) struct Router {
    /// The waypost command to start, if not the one in the same folder.
    #[arg(long = "router", value_name = "FILE")]
    binary: Option<PathBuf>,
    /// A key of the started router's configuration; may stand several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A router that runs, instead of one that is started. Its own routes decide what is measured.
    #[arg(long, value_name = "HOST:PORT", requires = "ca", conflicts_with_all = ["binary", "set"])]
    address: Option<String>,
    /// The authority to trust, in PEM; the router names the file at its start.
    #[arg(long, value_name = "FILE", requires = "address")]
    ca: Option<PathBuf>,
    /// The topic that the running router's route reads.
    #[arg(long, default_value = "bench.in")]
    topic_in: String,
    /// The topic that it writes; the same one, if not said.
    #[arg(long)]
    topic_out: Option<String>,
    /// The running router's process, to count its CPU time and memory.
    #[arg(long, requires = "address")]
    pid: Option<u32>,
}

impl Router {
    pub(crate) fn through(
        self,
        program: &Program,
        plugins: PathBuf,
        own: Option<OwnPlugin>,
    ) -> Through {
        match (self.address, self.ca) {
            (Some(address), Some(ca)) => {
                let topic_out = self.topic_out.unwrap_or_else(|| self.topic_in.clone());
                let target = Target { address, ca, topic_in: self.topic_in, topic_out };
                Through::Running(Running { target, pid: self.pid })
            }
            _ => Through::Started(Routers {
                binary: self.binary.unwrap_or_else(|| program.sibling("waypost")),
                set: self.set,
                plugins,
                own,
            }),
        }
    }
}

/// What the command line asks for.
pub(crate) enum Asked {
    /// The limit alone.
    Limit(Relay),
    /// A scenario that goes through a router.
    Routed(Box<Measure>),
    /// Memory of connections over which nothing goes.
    Idle(idle::Options),
    /// All scenarios in turns.
    Comparison(compare::Options),
    /// To be a process of a measurement.
    Part(Part),
}

/// A scenario that goes through a router.
pub(crate) struct Measure {
    pub(crate) scenario: Scenario,
    pub(crate) routed: Routed,
    /// Where our plugins are.
    pub(crate) plugins: PathBuf,
    pub(crate) own: Option<OwnPlugin>,
}

impl From<Command> for Asked {
    fn from(command: Command) -> Self {
        let routed = |scenario, routed| {
            let plugins = PathBuf::new();
            Self::Routed(Box::new(Measure { scenario, routed, plugins, own: None }))
        };
        let staged = |scenario, Staged { plugins, plugin, config, routed }| {
            let config = config.unwrap_or_else(|| serde_json::json!({}));
            let own = plugin.map(|file| OwnPlugin { file, config });
            Self::Routed(Box::new(Measure { scenario, routed, plugins, own }))
        };
        match command {
            Command::Relay(relay) => Self::Limit(relay),
            Command::Forward(options) => routed(Scenario::Forward, options),
            Command::Filter(options) => staged(Scenario::Filter, options),
            Command::Chain(options) => staged(Scenario::Chain, options),
            Command::Transform(options) => staged(Scenario::Transform, options),
            Command::Fanout { subscribers, routed: options } => {
                routed(Scenario::Fanout { subscribers }, options)
            }
            Command::Request { in_flight, routed: options } => {
                routed(Scenario::Request { in_flight: in_flight.into() }, options)
            }
            Command::Group { members, durable, routed: options } => {
                routed(Scenario::Group { members, durable }, options)
            }
            Command::Durable(options) => routed(Scenario::Durable, options),
            Command::DurableRoute(options) => staged(Scenario::DurableRoute, options),
            Command::Everything(Everything { plugins, routed }) => {
                let scenario = Scenario::Everything;
                Self::Routed(Box::new(Measure { scenario, routed, plugins, own: None }))
            }
            Command::Idle(options) => Self::Idle(options),
            Command::Compare(options) => Self::Comparison(options),
            Command::Part { part } => Self::Part(part),
        }
    }
}

fn object(text: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(value),
        Ok(_) => Err("write a JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> clap::Command {
        Options::augment_args(clap::Command::new("bench"))
    }

    #[test]
    fn the_arguments_are_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_plugin_of_ones_own_needs_a_router_that_is_started() {
        let check = |arguments: &[&str], is_taken: bool| {
            let all = ["bench"].iter().chain(arguments);
            assert_eq!(command().try_get_matches_from(all).is_ok(), is_taken, "{arguments:?}");
        };
        check(&["filter"], true);
        check(&["filter", "--plugin", "a.wasm", "--config", "{}"], true);
        check(&["filter", "--config", "{}"], false);
        check(&["filter", "--plugin", "a.wasm", "--config", "[]"], false);
        check(&["filter", "--address", "localhost:1", "--ca", "ca.pem"], true);
        check(&["filter", "--address", "localhost:1"], false);
        check(&["filter", "--plugin", "a.wasm", "--address", "localhost:1", "--ca", "c"], false);
        check(&["relay", "--size", "10"], false);
        check(&["fanout", "--subscribers", "17"], false);
    }
}
