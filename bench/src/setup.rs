//! What a router is started with for a scenario: routes, stages and streams, as the text of a configuration.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    everything,
    scenario::{OwnPlugin, Routers, Scenario},
    target::Start,
};

pub(crate) const TOPIC_IN: &str = "bench.in";
pub(crate) const TOPIC_OUT: &str = "bench.out";
const STAGES_OF_CHAIN: usize = 4;

/// A plugin with its configuration.
pub(crate) type Stage = (String, Value);

/// What goes into a configuration.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) streams: Vec<Value>,
    pub(crate) routes: Vec<(Value, Vec<Stage>)>,
    pub(crate) groups: Vec<Value>,
}

impl Setup {
    /// That of a scenario, with a plugin of the user's in the place of ours if there is one.
    pub(crate) fn of(scenario: Scenario, own: Option<&OwnPlugin>) -> Self {
        let filter = || match own {
            Some(own) => (OwnPlugin::NAME.to_owned(), own.config.clone()),
            None => keep(),
        };
        let one_route = |stages| Self { routes: vec![(route(), stages)], ..Self::default() };
        match scenario {
            Scenario::Relay
            | Scenario::Forward
            | Scenario::Fanout { .. }
            | Scenario::Request { .. }
            | Scenario::Group { durable: false, .. } => Self::default(),
            Scenario::Filter => one_route(vec![filter()]),
            Scenario::Chain => {
                one_route(std::iter::repeat_with(filter).take(STAGES_OF_CHAIN).collect())
            }
            Scenario::Transform if own.is_some() => one_route(vec![filter()]),
            Scenario::Transform => one_route(vec![rewrite()]),
            // Members share partitions.
            Scenario::Group { members, durable: true } => {
                Self { streams: vec![stream("bench", TOPIC_IN, members)], ..Self::default() }
            }
            Scenario::Durable => {
                Self { streams: vec![stream("bench", TOPIC_IN, 1)], ..Self::default() }
            }
            Scenario::DurableRoute => Self {
                streams: vec![
                    stream("in", TOPIC_IN, 1),
                    stream("out", TOPIC_OUT, 1),
                    stream("dead", "$dead.>", 1),
                ],
                ..one_route(vec![filter()])
            },
            Scenario::Everything => everything::setup(),
        }
    }

    /// Where a scenario's messages come out.
    pub(crate) fn topic_out(&self) -> &'static str {
        if self.routes.is_empty() { TOPIC_IN } else { TOPIC_OUT }
    }

    /// What a router is started with.
    pub(crate) fn start(&self, routers: &Routers) -> anyhow::Result<Start> {
        let artefact = |plugin: &str| match &routers.own {
            Some(own) if plugin == OwnPlugin::NAME => own.file.clone(),
            _ => routers.plugins.join(format!("{plugin}.wasm")),
        };
        let stages = self.routes.iter().flat_map(|(_, stages)| stages);
        let mut plugins: Vec<(String, PathBuf)> =
            stages.map(|(plugin, _)| (plugin.clone(), artefact(plugin))).collect();
        plugins.sort();
        plugins.dedup();
        Ok(Start {
            binary: routers.binary.clone(),
            config: self.config().context("the configuration has no form in TOML")?,
            set: routers.set.clone(),
            plugins,
        })
    }

    fn config(&self) -> anyhow::Result<String> {
        let Self { streams, routes, groups } = self;
        let routes: Vec<Value> = routes
            .iter()
            .map(|(route, stages)| {
                let stages = (1..).zip(stages).map(|(number, (plugin, config))| {
                    let name = format!("stage-{number}");
                    json!({ "name": name, "plugin": plugin, "config": config })
                });
                let mut route = route.clone();
                if let Some(table) = route.as_object_mut() {
                    table.insert("stage".to_owned(), stages.collect());
                }
                route
            })
            .collect();
        let mut tables = serde_json::Map::new();
        for (name, list) in [("stream", streams), ("route", &routes), ("group", groups)] {
            if !list.is_empty() {
                tables.insert(name.to_owned(), list.clone().into());
            }
        }
        Ok(toml::to_string(&tables)?)
    }
}

pub(crate) fn stream(name: &str, topics: &str, partitions: u16) -> Value {
    json!({ "name": name, "topics": [topics], "partitions": partitions })
}

fn route() -> Value {
    json!({ "name": "bench", "from": TOPIC_IN, "to": TOPIC_OUT })
}

/// A stage that looks at each payload and keeps it.
pub(crate) fn keep() -> Stage {
    ("byte-filter".to_owned(), json!({}))
}

/// A stage that writes each payload anew.
pub(crate) fn rewrite() -> Stage {
    let fields = json!({ "due": "/due", "number": "/number", "text": "/padding" });
    let version = json!({ "pointer": "/version", "value": 1 });
    let steps = json!([{ "pick": fields }, { "set": version }]);
    ("transform-json".to_owned(), json!({ "step": steps }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(scenario: Scenario, own: Option<OwnPlugin>) -> (toml::Table, Vec<String>) {
        let setup = Setup::of(scenario, own.as_ref());
        let (binary, plugins) = ("waypost".into(), "plugins".into());
        let routers = Routers { binary, set: Vec::new(), plugins, own };
        let start = setup.start(&routers).expect("it has a form");
        let files = start.plugins.iter().map(|(_, file)| file.display().to_string()).collect();
        (start.config.parse().expect("it is TOML"), files)
    }

    fn names(tables: &toml::Value) -> Vec<&str> {
        let tables = tables.as_array().map(Vec::as_slice).unwrap_or_default();
        tables.iter().filter_map(|table| table["name"].as_str()).collect()
    }

    #[test]
    fn a_chain_is_one_route_with_four_stages_of_one_plugin() {
        let (config, plugins) = start(Scenario::Chain, None);
        let stages = names(&config["route"][0]["stage"]);
        assert_eq!(stages, ["stage-1", "stage-2", "stage-3", "stage-4"]);
        assert_eq!(plugins, ["plugins/byte-filter.wasm"]);
    }

    #[test]
    fn a_plugin_of_the_users_stands_in_the_place_of_ours() {
        let own = OwnPlugin { file: "mine.wasm".into(), config: json!({ "minimum": 4.5 }) };
        let (config, plugins) = start(Scenario::DurableRoute, Some(own));
        let stage = &config["route"][0]["stage"][0];
        assert_eq!(stage["plugin"].as_str(), Some("own"));
        assert_eq!(stage["config"]["minimum"].as_float(), Some(4.5));
        assert_eq!(plugins, ["mine.wasm"]);
    }

    #[test]
    fn a_durable_route_leads_from_stream_to_stream_and_has_a_place_for_dead_letters() {
        let (config, _) = start(Scenario::DurableRoute, None);
        assert_eq!(names(&config["stream"]), ["in", "out", "dead"]);
        assert_eq!(config["stream"][1]["topics"][0], config["route"][0]["to"]);
    }

    #[test]
    fn members_of_a_group_over_a_stream_have_a_partition_each() {
        let (config, _) = start(Scenario::Group { members: 3, durable: true }, None);
        assert_eq!(config["stream"][0]["partitions"].as_integer(), Some(3));
        assert!(start(Scenario::Group { members: 3, durable: false }, None).0.is_empty());
    }
}
