//! What the configuration asks for: the plugins of its routes, at the start and when it is reloaded.

use std::{path::Path, sync::Arc};

use waypost_core::{PluginName, RouteDefinition};

use super::{
    DeployError, Deployer, History, PluginRules, Via,
    deployer::{Accepted, Plugins},
    knowledge::State,
    prepare::{Plugin, Prepared, Refused, Source},
    probation::Trial,
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
        if !errors.is_empty() {
            return Err(errors);
        }
        let all: Vec<_> =
            ready.iter().map(|(name, prepared, via)| Accepted::new(name, prepared, *via)).collect();
        self.keep(&all).map_err(|error| vec![error])?;
        for (name, prepared, via) in ready {
            self.run(name, prepared, via);
        }
        Ok(())
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

    /// Lets there be these routes, and their plugins have these limits, grants and keys to trust. An artefact that
    /// runs stays, unless its pin forbids it; where something is new for it, it is configured and tried again beside
    /// what runs. A plugin that comes anew is loaded as at a start. All that changes is swapped in one step.
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
        let preparing = changed.map(|plugin| async move { (plugin, self.again(plugin).await) });
        let (mut ready, mut errors) = (Vec::new(), Vec::new());
        for (plugin, prepared) in futures_util::future::join_all(preparing).await {
            match prepared {
                Ok((mut prepared, via)) => {
                    let states = self.state();
                    let running = states.get(&plugin.name).and_then(|state| state.running.as_ref());
                    running.inspect(|running| prepared.count_on_from(running));
                    drop(states);
                    ready.push((plugin, prepared, via));
                }
                Err(refused) => errors.push(refused.error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let all: Vec<_> = ready
            .iter()
            .map(|(plugin, prepared, via)| Accepted::new(&plugin.name, prepared, *via))
            .collect();
        self.keep(&all).map_err(|error| vec![error])?;
        let versions: Vec<_> =
            ready.iter().flat_map(|(_, prepared, _)| &prepared.versions).cloned().collect();
        self.count_swaps(&versions);
        self.plans.define(routes, &versions);
        let mut states = self.state();
        for (plugin, prepared, via) in ready {
            let state = states.entry(plugin.name.clone()).or_default();
            if via.is_some() {
                self.metrics.deploys.with_label_values(&[plugin.name.as_str(), "accepted"]).inc();
                state.deploys += 1;
                state.refused = None;
            }
            if !before.get(&plugin.name).is_some_and(|before| before.is_in_stages_of(plugin)) {
                // What it did in other stages cannot be held against what it does here.
                state.trial = Some(Trial::begin(prepared.counts()));
            }
            state.manifest = Some(prepared.manifest.clone());
            // Those that ran before have the configuration from before.
            state.before = None;
            state.running = Some(prepared);
        }
        for name in before.keys().filter(|name| !next.contains_key(*name)) {
            if let Some(state) = states.get_mut(name) {
                let history = std::mem::take(&mut state.history);
                *state = State { history, deploys: state.deploys, ..State::default() };
            }
        }
        drop(states);
        self.plugins.store(Arc::new(next));
        Ok(())
    }

    /// The version of a plugin under another configuration: of the artefact that runs, if one does and its pin
    /// allows it.
    async fn again(&self, plugin: &Plugin) -> Result<(Prepared, Option<Via>), Box<Refused>> {
        let (history, is_running) = match self.state().get(&plugin.name) {
            Some(state) => (state.history.clone(), state.running.is_some()),
            None => (History::default(), false),
        };
        match history.active.filter(|active| is_running && plugin.rules.trust.allows(*active)) {
            Some(active) => Ok((self.prepare(plugin, Source::Kept(active)).await?, None)),
            None => self.first(plugin, Some(&history)).await,
        }
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
