//! What the configuration asks for: the plugins of its routes, at the start and when it is reloaded.

use std::{path::Path, sync::Arc};

use waypost_core::{PluginName, RouteDefinition};

use super::{
    DeployError, Deployer, History, PluginRules, Via,
    deployer::Plugins,
    prepare::{Plugin, Prepared, Refused, Source},
};
use crate::wasm::Digest;

impl Deployer {
    /// Loads every plugin for the first time, all at once: the version that ran last, unless its file has
    /// changed since.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them; then none runs.
    pub async fn load(&self) -> Result<(), Vec<DeployError>> {
        let _turn = self.deploying.lock().await;
        let recorded = self.store.load().map_err(|error| vec![error.into()])?;
        let plugins = self.plugins();
        let preparing = plugins.iter().map(|(name, plugin)| self.first(plugin, recorded.get(name)));
        let prepared = futures_util::future::join_all(preparing).await;
        for (name, history) in recorded {
            self.state().entry(name).or_default().history = history;
        }
        let (mut ready, mut errors) = (Vec::new(), Vec::new());
        for (name, prepared) in plugins.keys().zip(prepared) {
            match prepared {
                Ok((prepared, via)) => ready.push((name, prepared, via)),
                Err(refused) => errors.push(refused.error),
            }
        }
        for (name, prepared, via) in ready {
            if !errors.is_empty() {
                break;
            }
            errors.extend(self.accept(name, prepared, via).err());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The version that a plugin starts with, and how it came to run where that is news.
    async fn first(
        &self,
        plugin: &Plugin,
        recorded: Option<&History>,
    ) -> Result<(Prepared, Option<Via>), Box<Refused>> {
        let Some(active) = recorded.and_then(|history| history.active) else {
            return Ok((self.prepare(plugin, Source::Folder).await?, Some(Via::Folder)));
        };
        let file = self.look_at(plugin).await.digest;
        let observed = recorded.and_then(|history| history.observed);
        if !plugin.rules.trust.allows(active) {
            return self.first_pinned(plugin, recorded, file).await;
        }
        if file.is_some() && file != Some(active) && file != observed {
            match self.prepare(plugin, Source::Folder).await {
                Ok(prepared) => return Ok((prepared, Some(Via::Folder))),
                Err(refused) => {
                    let error = &refused.error;
                    tracing::error!(%error, "an artefact was refused; what ran last runs again");
                }
            }
        }
        let source = if file == Some(active) { Source::Folder } else { Source::Kept(active) };
        Ok((self.prepare(plugin, source).await?, None))
    }

    /// The version that a plugin starts with whose pin forbids the one that ran last: the pinned one, from
    /// its file or from among those that ran before.
    async fn first_pinned(
        &self,
        plugin: &Plugin,
        recorded: Option<&History>,
        file: Option<Digest>,
    ) -> Result<(Prepared, Option<Via>), Box<Refused>> {
        let allows = |digest: &Digest| plugin.rules.trust.allows(*digest);
        let kept = recorded.into_iter().flat_map(|history| &history.versions);
        let kept = kept.map(|known| known.digest).find(allows);
        let (source, via) = match kept {
            Some(digest) if !file.as_ref().is_some_and(allows) => {
                (Source::Kept(digest), Via::Pinned)
            }
            // If it is not the pinned one either, the refusal says so.
            _ => (Source::Folder, Via::Folder),
        };
        Ok((self.prepare(plugin, source).await?, Some(via)))
    }

    /// Lets the stages have other configurations, and their plugins other limits and grants. The stages stay the
    /// same, and so do the artefacts that run in them: each is configured and tried again beside what runs,
    /// and all that changes is swapped in one step.
    ///
    /// # Errors
    ///
    /// Everything that any of them refuses; then nothing has changed.
    pub async fn reconfigure(
        &self,
        routes: &[RouteDefinition],
        rules: impl Fn(&PluginName) -> PluginRules,
    ) -> Result<(), Vec<DeployError>> {
        let _turn = self.deploying.lock().await;
        let (before, next) = (self.plugins(), plugins_of(&self.folder, routes, rules));
        let changed = next.values().filter(|plugin| before.get(&plugin.name) != Some(*plugin));
        let preparing = changed.filter_map(|plugin| {
            let source = Source::Kept(self.active(&plugin.name)?);
            Some(async move { (plugin, self.prepare(plugin, source).await) })
        });
        let (mut ready, mut errors) = (Vec::new(), Vec::new());
        for (plugin, prepared) in futures_util::future::join_all(preparing).await {
            match prepared {
                Ok(prepared) => ready.push((plugin.name.clone(), prepared)),
                Err(refused) => errors.push(refused.error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        self.swap(ready.iter().flat_map(|(_, prepared)| &prepared.versions), false);
        self.plugins.store(Arc::new(next));
        let mut states = self.state();
        for (name, prepared) in ready {
            let state = states.entry(name).or_default();
            // Those that ran before have the configuration from before.
            state.before = None;
            state.running = Some(prepared);
        }
        Ok(())
    }
}

/// The plugins that these routes use.
pub(super) fn plugins_of(
    folder: &Path,
    routes: &[RouteDefinition],
    rules: impl Fn(&PluginName) -> PluginRules,
) -> Plugins {
    let mut plugins = Plugins::new();
    for route in routes {
        for stage in &route.stages {
            let plugin = plugins.entry(stage.plugin.clone()).or_insert_with(|| Plugin {
                file: folder.join(format!("{}.wasm", stage.plugin)),
                name: stage.plugin.clone(),
                rules: rules(&stage.plugin),
                stages: Vec::new(),
            });
            plugin.stages.push((route.name.clone(), stage.clone()));
        }
    }
    plugins
}
