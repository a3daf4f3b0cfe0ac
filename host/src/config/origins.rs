//! Where the configuration says what runs in a stage and what a stream is: for what is found out only when
//! plugins run and storage is open.

use waypost_core::{PluginName, RouteName, StreamName};

use super::{problem::Place, reader::Reader, sections::Draft};

/// The places of every stage's keys, and of every stream's partitions.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    stages: Vec<Origin>,
    streams: Vec<(StreamName, Place)>,
}

#[derive(Debug, Clone)]
struct Origin {
    route: RouteName,
    stage: String,
    plugin: PluginName,
    /// Of the key that names the plugin.
    plugin_place: Place,
    /// Of the plugin's configuration; where there is none, of the key that names the plugin.
    config_place: Place,
}

impl Origins {
    pub(super) fn of(draft: &Draft, reader: &Reader<'_>) -> Self {
        let mut origins = Vec::new();
        for draft in &draft.routes {
            let Some(route) = &draft.definition else {
                continue;
            };
            for (stage, path) in route.stages.iter().zip(&draft.stages) {
                let (plugin, config) = (format!("{path}.plugin"), format!("{path}.config"));
                let config = if reader.is_set(&config) { config } else { plugin.clone() };
                origins.push(Origin {
                    route: route.name.clone(),
                    stage: stage.name.as_str().to_owned(),
                    plugin: stage.plugin.clone(),
                    plugin_place: reader.place(&plugin),
                    config_place: reader.place(&config),
                });
            }
        }
        let streams = draft.streams.iter().filter_map(|draft| {
            let name = draft.definition.as_ref()?.name.clone();
            let partitions = format!("{}.partitions", draft.path);
            let key = if reader.is_set(&partitions) { &partitions } else { &draft.path };
            Some((name, reader.place(key)))
        });
        Self { stages: origins, streams: streams.collect() }
    }

    /// Where the configuration of a stage's plugin stands.
    #[must_use]
    pub fn of_configuration(&self, route: &RouteName, stage: &str) -> Place {
        let found =
            self.stages.iter().find(|origin| origin.route == *route && origin.stage == stage);
        found.map_or(Place::Default, |origin| origin.config_place.clone())
    }

    /// Where it stands how many partitions a stream has.
    #[must_use]
    pub fn of_stream(&self, stream: &StreamName) -> Place {
        let found = self.streams.iter().find(|(name, _)| name == stream);
        found.map_or(Place::Default, |(_, place)| place.clone())
    }

    /// Where a plugin is named first.
    #[must_use]
    pub fn of_plugin(&self, plugin: &str) -> Place {
        let found = self.stages.iter().find(|origin| origin.plugin.as_str() == plugin);
        found.map_or(Place::Default, |origin| origin.plugin_place.clone())
    }
}
