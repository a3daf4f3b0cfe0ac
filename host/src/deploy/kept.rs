//! A kept version beside the one that runs, for whoever wants to know what it would say.

use std::sync::Arc;

use super::{DeployError, Deployer, prepare::Source};
use crate::router::stage::StageVersion;

impl Deployer {
    /// A version of the plugin of a stage, with the stage's configuration: the one that runs for `active`, the newest of
    /// this version in its manifest, or the one whose digest begins so. It runs nowhere.
    ///
    /// # Errors
    ///
    /// There is no such stage or version, or it is refused by now.
    pub async fn kept_version(
        &self,
        route: &str,
        stage: &str,
        version: &str,
    ) -> Result<Arc<dyn StageVersion>, DeployError> {
        let name = self.plugin_of(route, stage)?;
        let mut plugin = self.known(&name)?;
        plugin.stages.retain(|(known, definition)| {
            known.as_str() == route && definition.name.as_str() == stage
        });
        let digest = {
            let states = self.state();
            let history = states.get(&plugin.name).map(|state| &state.history);
            let found = history.cloned().unwrap_or_default().named(version);
            found
                .map_err(|source| DeployError::NoVersion { plugin: plugin.name.clone(), source })?
        };
        // Its artefact is not pruned, and one is compiled at a time.
        let _turn = self.deploying.lock().await;
        let source = Source::Kept(digest);
        let file = source.name(&plugin);
        let prepared = self.prepare(&plugin, source).await.map_err(|refused| refused.error)?;
        let made = prepared.versions.into_iter().next();
        let reason = "no stage uses it".to_owned();
        made.map(|(_, stage)| stage.version).ok_or(DeployError::Internal { file, reason })
    }
}
