//! Where the configuration says what runs in a stage: for what is found out only when plugins run.

use waypost_core::{PluginName, RouteName};

use super::{problem::Place, reader::Reader, routes::DraftRoute};

/// The places of every stage's keys.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<Origin>);

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
    pub(super) fn of(drafts: &[DraftRoute], reader: &Reader<'_>) -> Self {
        let mut origins = Vec::new();
        for draft in drafts {
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
        Self(origins)
    }

    /// Where the configuration of a stage's plugin stands.
    #[must_use]
    pub fn of_configuration(&self, route: &RouteName, stage: &str) -> Place {
        let found = self.0.iter().find(|origin| origin.route == *route && origin.stage == stage);
        found.map_or(Place::Default, |origin| origin.config_place.clone())
    }

    /// Where a plugin is named first.
    #[must_use]
    pub fn of_plugin(&self, plugin: &str) -> Place {
        let found = self.0.iter().find(|origin| origin.plugin.as_str() == plugin);
        found.map_or(Place::Default, |origin| origin.plugin_place.clone())
    }
}
