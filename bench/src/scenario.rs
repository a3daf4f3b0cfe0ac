//! What is measured: the ways that messages can take.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    load::Load,
    measure::Measured,
    process::Program,
    relay, request, routed,
    target::{Router, Start, Target},
};

const TOPIC_IN: &str = "bench.in";
const TOPIC_OUT: &str = "bench.out";
const STAGES_OF_CHAIN: usize = 4;

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
        }
    }

    /// What happens, in one line.
    pub(crate) fn description(self) -> String {
        match self {
            Self::Relay => "a bare QUIC relay: the limit".to_owned(),
            Self::Forward => "publisher to subscriber, no route".to_owned(),
            Self::Filter => "one Wasm stage that looks at each payload and keeps it".to_owned(),
            Self::Chain => format!("{STAGES_OF_CHAIN} such stages in one route"),
            Self::Transform => "one Wasm stage that writes each JSON payload anew".to_owned(),
            Self::Fanout { subscribers } => format!("{subscribers} subscribers; deliveries count"),
            Self::Request { in_flight } => {
                format!("requests and replies, {in_flight} at a time; replies count")
            }
        }
    }

    /// The plugin of each stage with its configuration.
    fn stages(self, own: Option<&OwnPlugin>) -> Vec<(String, Value)> {
        let filter = || match own {
            Some(own) => (OwnPlugin::NAME.to_owned(), own.config.clone()),
            None => ("byte-filter".to_owned(), json!({})),
        };
        match self {
            Self::Relay | Self::Forward | Self::Fanout { .. } | Self::Request { .. } => Vec::new(),
            Self::Filter => vec![filter()],
            Self::Chain => std::iter::repeat_with(filter).take(STAGES_OF_CHAIN).collect(),
            Self::Transform if own.is_some() => vec![filter()],
            Self::Transform => {
                let fields = json!({ "due": "/due", "number": "/number", "text": "/padding" });
                let version = json!({ "pointer": "/version", "value": 1 });
                let steps = json!([{ "pick": fields }, { "set": version }]);
                vec![("transform-json".to_owned(), json!({ "step": steps }))]
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
    const NAME: &str = "own";
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
                    self.measure_through(program, target.clone(), *pid).await
                }
                Through::Started(routers) => {
                    let stages = self.scenario.stages(routers.own.as_ref());
                    let router = Router::start(&start(routers, &stages)?).await?;
                    let to = if stages.is_empty() { TOPIC_IN } else { TOPIC_OUT };
                    let target = router.target(TOPIC_IN, to)?;
                    self.measure_through(program, target, router.pid()).await
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
    ) -> anyhow::Result<Measured> {
        let load = self.load.clone();
        let routed = |subscribers| routed::Task { target: target.clone(), load, subscribers };
        match self.scenario {
            Scenario::Request { in_flight } => {
                let task = request::Task { target, load: self.load.clone(), in_flight };
                request::measure(program, task, pid).await
            }
            Scenario::Fanout { subscribers } => {
                routed::measure(program, routed(subscribers), pid).await
            }
            _ => routed::measure(program, routed(1), pid).await,
        }
    }
}

/// What a router with these stages in one route is started with.
fn start(routers: &Routers, stages: &[(String, Value)]) -> anyhow::Result<Start> {
    let artefact = |plugin: &str| match &routers.own {
        Some(own) if plugin == OwnPlugin::NAME => own.file.clone(),
        _ => artefact(&routers.plugins, plugin),
    };
    let mut plugins: Vec<_> =
        stages.iter().map(|(plugin, _)| (plugin.clone(), artefact(plugin))).collect();
    plugins.dedup();
    Ok(Start {
        binary: routers.binary.clone(),
        config: config(stages).context("the stage's configuration has no form in TOML")?,
        set: routers.set.clone(),
        plugins,
    })
}

fn artefact(folder: &Path, plugin: &str) -> PathBuf {
    folder.join(format!("{plugin}.wasm"))
}

fn config(stages: &[(String, Value)]) -> anyhow::Result<String> {
    if stages.is_empty() {
        return Ok(String::new());
    }
    let stages: Vec<Value> = (1..)
        .zip(stages)
        .map(|(number, (plugin, config))| {
            json!({ "name": format!("stage-{number}"), "plugin": plugin, "config": config })
        })
        .collect();
    let route = json!({ "name": "bench", "from": TOPIC_IN, "to": TOPIC_OUT, "stage": stages });
    Ok(toml::to_string(&json!({ "route": [route] }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_one_route_with_four_stages_of_one_plugin() {
        let routers = Routers {
            binary: "waypost".into(),
            set: Vec::new(),
            plugins: "plugins".into(),
            own: None,
        };
        let start = start(&routers, &Scenario::Chain.stages(None)).expect("it has a form");
        let config: toml::Table = start.config.parse().expect("it is TOML");
        let stages = config["route"][0]["stage"].as_array().expect("it has stages");
        let names: Vec<_> = stages.iter().map(|stage| stage["name"].as_str()).collect();
        assert_eq!(
            names,
            [1, 2, 3, 4]
                .map(|number| format!("stage-{number}"))
                .each_ref()
                .map(|name| Some(name.as_str()))
        );
        let artefact = ("byte-filter".to_owned(), PathBuf::from("plugins/byte-filter.wasm"));
        assert_eq!(start.plugins, [artefact]);
    }

    #[test]
    fn a_plugin_of_the_users_stands_in_the_place_of_ours() {
        let own = OwnPlugin { file: "mine.wasm".into(), config: json!({ "minimum": 4.5 }) };
        let stages = Scenario::Filter.stages(Some(&own));
        assert_eq!(stages, [("own".to_owned(), json!({ "minimum": 4.5 }))]);
        let config: toml::Table =
            config(&stages).expect("it has a form").parse().expect("it is TOML");
        assert_eq!(config["route"][0]["stage"][0]["config"]["minimum"].as_float(), Some(4.5));
    }
}
