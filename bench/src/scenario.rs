//! What is measured: the ways that messages can take.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    everything,
    load::Load,
    measure::Measured,
    process::{Child, Part, Program},
    relay, request,
    routed::{self, Readers},
    setup::{Setup, TOPIC_IN},
    target::{Router, Target},
    workload::LEAST_MARKED_BYTES,
};

/// One way. The names are those of the command line and of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// No router at all, but a relay that decides nothing: the limit.
    Relay,
    /// From publisher to subscriber without a route.
    Forward,
    /// Through a route with one stage, which keeps every message.
    Filter,
    /// Through a route with four such stages.
    Chain,
    /// Through a route with a stage that writes each JSON payload anew.
    Transform,
    /// From a publisher to several subscribers; deliveries are counted.
    Fanout {
        /// How many, each on a connection of its own.
        subscribers: u16,
    },
    /// Requests and their replies; replies are counted.
    Request {
        /// Requests that wait for their replies at a time, at most.
        in_flight: usize,
    },
    /// To members of a group, who share and acknowledge the messages.
    Group {
        /// How many, each on a connection of its own.
        members: u16,
        /// Whether they share a stream, rather than a memory topic.
        durable: bool,
    },
    /// Into a stream, and from it to a subscriber; acknowledgements are counted.
    Durable,
    /// From a stream through a route with one stage into another stream, and from it to a subscriber.
    DurableRoute,
    /// All features at once.
    Everything,
}

impl Scenario {
    /// As it stands in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Forward => "forward",
            Self::Filter => "filter",
            Self::Chain => "chain",
            Self::Transform => "transform",
            Self::Fanout { .. } => "fanout",
            Self::Request { .. } => "request",
            Self::Group { .. } => "group",
            Self::Durable => "durable",
            Self::DurableRoute => "durable-route",
            Self::Everything => "everything",
        }
    }

    /// What happens, in one line.
    pub(crate) fn description(self) -> String {
        match self {
            Self::Relay => "a bare QUIC relay: the limit".to_owned(),
            Self::Forward => "publisher to subscriber, no route".to_owned(),
            Self::Filter => "one Wasm stage that looks at each payload and keeps it".to_owned(),
            Self::Chain => "four such stages in one route".to_owned(),
            Self::Transform => "one Wasm stage that writes each JSON payload anew".to_owned(),
            Self::Fanout { subscribers } => format!("{subscribers} subscribers; deliveries count"),
            Self::Request { in_flight } => {
                format!("requests and replies, {in_flight} at a time; replies count")
            }
            Self::Group { members, durable } => {
                let source = if durable { "stream" } else { "memory topic" };
                format!("{members} members of a group share a {source} and acknowledge each message")
            }
            Self::Durable => {
                "into a stream, acknowledged after the sync, and to a subscriber; acknowledgements count".to_owned()
            }
            Self::DurableRoute => {
                "from a stream through one Wasm stage into another stream, and to a subscriber".to_owned()
            }
            Self::Everything => {
                "from a stream through two Wasm stages with retries into another stream, shared by a group that gives \
                 some back; beside it a memory route of four stages, requests, dead letters, metrics and a tap"
                    .to_owned()
            }
        }
    }
}

/// A plugin of the user's in the place of ours.
#[derive(Debug, Clone)]
pub(crate) struct OwnPlugin {
    pub(crate) file: PathBuf,
    pub(crate) config: Value,
}

impl OwnPlugin {
    pub(crate) const NAME: &str = "own";
}

/// How routers are started.
#[derive(Debug, Clone)]
pub(crate) struct Routers {
    pub(crate) binary: PathBuf,
    pub(crate) set: Vec<String>,
    /// Where our plugins are.
    pub(crate) plugins: PathBuf,
    pub(crate) own: Option<OwnPlugin>,
}

/// A router that runs already; its routes are what they are.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) target: Target,
    pub(crate) pid: Option<u32>,
}

/// Where the messages go through.
#[derive(Debug, Clone)]
pub(crate) enum Through {
    Started(Routers),
    Running(Running),
}

/// One thing to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) load: Load,
}

impl Case {
    /// Measures it once, with a router of its own unless there is one.
    pub(crate) async fn measure(
        &self,
        program: &Program,
        through: &Through,
    ) -> anyhow::Result<Measured> {
        let measured = async {
            if self.scenario == Scenario::Relay {
                return relay::measure(program, self.load.clone()).await;
            }
            match through {
                Through::Running(Running { target, pid }) => {
                    ensure!(
                        self.scenario != Scenario::Everything,
                        "everything needs a router with routes of its own: leave --address out"
                    );
                    self.measure_through(program, target.clone(), *pid, None).await
                }
                Through::Started(routers) => {
                    let setup = Setup::of(self.scenario, routers.own.as_ref());
                    let router = Router::start(&setup.start(routers)?).await?;
                    let target = router.target(TOPIC_IN, setup.topic_out())?;
                    let beside = match self.scenario {
                        Scenario::Everything => {
                            let (target, load) = (target.clone(), self.load.clone());
                            let task = everything::Task { target, admin: router.admin()?, load };
                            Some(Child::begin(program, Part::Beside, &task).await?)
                        }
                        _ => None,
                    };
                    self.measure_through(program, target, router.pid(), beside).await
                }
            }
        };
        measured.await.with_context(|| format!("measuring {}", self.scenario.name()))
    }

    async fn measure_through(
        &self,
        program: &Program,
        target: Target,
        pid: Option<u32>,
        beside: Option<Child>,
    ) -> anyhow::Result<Measured> {
        let load = self.load.clone();
        let (readers, marked) = match self.scenario {
            Scenario::Request { in_flight } => {
                let task = request::Task { target, load, in_flight };
                return request::measure(program, task, pid).await;
            }
            Scenario::Fanout { subscribers } => (Readers::Subscribers(subscribers), None),
            Scenario::Group { members: count, .. } => {
                (Readers::Members { count, given_back: None }, None)
            }
            Scenario::Durable | Scenario::DurableRoute => (Readers::FromBeginning, None),
            Scenario::Everything => {
                ensure!(
                    load.size >= LEAST_MARKED_BYTES,
                    "everything needs payloads of {LEAST_MARKED_BYTES} bytes at least"
                );
                let (count, given_back) = (everything::MEMBERS, everything::GIVEN_BACK);
                (Readers::Members { count, given_back }, everything::MARKED)
            }
            _ => (Readers::Subscribers(1), None),
        };
        let rated_by_acknowledgements = self.scenario == Scenario::Durable;
        let partitioned =
            matches!(self.scenario, Scenario::Group { durable: true, .. } | Scenario::Everything);
        let task =
            routed::Task { target, load, readers, partitioned, marked, rated_by_acknowledgements };
        routed::measure(program, task, pid, beside).await
    }
}
