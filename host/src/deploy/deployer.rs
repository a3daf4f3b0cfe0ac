//! Brings artefacts into the stages that use them: from the plugin folder, from an operator's hands, or
//! from among those that ran before.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use tokio::{runtime::Handle, sync::Notify, time::Instant};
use waypost_core::{PluginName, RouteDefinition, RouteName, StageDefinition};

use super::{
    DeployError, DeployMetrics, PluginRules, VersionStore, Via,
    configured::plugins_of,
    knowledge::{Seen, State},
    prepare::{Plugin, Prepared, Refused, Signed, Source, prepare, read},
    probation::Trial,
    strangers::Strangers,
    trust::read_signature,
};
use crate::{
    router::{Plans, RouterMetrics, stage::Stage},
    wasm::{Digest, PluginError, Sandbox},
};

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployed {
    /// The artefact runs in every stage that uses it.
    Swapped(Digest),
    /// It runs already, or was refused for good.
    Unchanged,
}

/// Knows which stages use which file, and swaps their versions.
#[derive(Debug)]
pub struct Deployer {
    sandbox: Arc<Sandbox>,
    pub(super) store: VersionStore,
    pub(super) folder: PathBuf,
    pub(super) plugins: ArcSwap<Plugins>,
    pub(super) plans: Arc<Plans>,
    pub(super) router_metrics: Arc<RouterMetrics>,
    pub(super) metrics: DeployMetrics,
    pub(super) known: Mutex<BTreeMap<PluginName, State>>,
    pub(super) strangers: Mutex<Strangers>,
    /// One deploy at a time, so that two never swap against each other.
    pub(super) deploying: tokio::sync::Mutex<()>,
    /// Tells whoever watches new versions of each swap.
    pub(super) swapped: Notify,
}

/// The plugins that the configuration names, with the stages that use each.
pub(super) type Plugins = BTreeMap<PluginName, Plugin>;

/// What a plugin is to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted<'a> {
    pub(super) plugin: &'a PluginName,
    pub(super) prepared: &'a Prepared,
    /// How it came, unless it ran before.
    pub(super) via: Option<Via>,
    /// Why the version that ran is not to be gone back to, if it is not.
    pub(super) leaves_because: Option<&'a str>,
}

impl<'a> Accepted<'a> {
    pub(super) fn new(plugin: &'a PluginName, prepared: &'a Prepared, via: Option<Via>) -> Self {
        Self { plugin, prepared, via, leaves_because: None }
    }
}

/// What a deployer is made with beside the parts that it works on.
#[derive(Debug)]
pub struct DeployerParts {
    /// Compiles and tries artefacts.
    pub sandbox: Arc<Sandbox>,
    /// Keeps them.
    pub store: VersionStore,
    /// Where their versions run.
    pub plans: Arc<Plans>,
    /// What deploys count.
    pub metrics: DeployMetrics,
}

impl Deployer {
    /// A deployer for these routes, which are planned, and the plugins that they use. Nothing is loaded yet.
    #[must_use]
    pub fn new(
        parts: DeployerParts,
        folder: &Path,
        routes: &[RouteDefinition],
        rules: impl Fn(&PluginName) -> PluginRules,
    ) -> Self {
        let plugins = ArcSwap::from_pointee(plugins_of(folder, routes, rules));
        let folder = folder.to_owned();
        let DeployerParts { sandbox, store, plans, metrics } = parts;
        plans.define(routes, &[]);
        let router_metrics = plans.metrics().clone();
        Self {
            sandbox,
            store,
            folder,
            plugins,
            plans,
            router_metrics,
            metrics,
            known: Mutex::default(),
            strangers: Mutex::default(),
            deploying: tokio::sync::Mutex::default(),
            swapped: Notify::new(),
        }
    }

    /// Keeps so many versions of a plugin from its next deploy on.
    pub fn set_keep_versions(&self, keep: usize) {
        self.store.set_keep(keep);
    }

    /// Looks at every file, and deploys those that hold something new. Outcomes are logged, counted and
    /// kept for [`status`](Self::status).
    pub async fn rescan(&self) {
        self.tell_strangers();
        for name in self.plugins().keys() {
            match self.look(name).await {
                Ok(Deployed::Unchanged) => {}
                Ok(Deployed::Swapped(digest)) => {
                    tracing::info!(plugin = %name, %digest, "a new version runs");
                }
                Err(error) => {
                    tracing::error!(plugin = %name, %error, "an artefact was refused; what ran goes on");
                }
            }
        }
    }

    async fn look(&self, name: &PluginName) -> Result<Deployed, DeployError> {
        let _turn = self.deploying.lock().await;
        let plugins = self.plugins();
        let Some(plugin) = plugins.get(name) else {
            return Ok(Deployed::Unchanged);
        };
        let seen = self.look_at(plugin).await;
        if !self.is_news(name, seen) {
            return Ok(Deployed::Unchanged);
        }
        self.bring(name, plugin, Source::Folder, seen).await
    }

    /// Deploys an artefact that an operator hands in, with the text of its signature if there is one.
    ///
    /// # Errors
    ///
    /// It is refused; what ran goes on.
    pub async fn deploy(
        &self,
        name: &str,
        bytes: Vec<u8>,
        signature: Option<String>,
    ) -> Result<Deployed, DeployError> {
        let _turn = self.deploying.lock().await;
        let plugin = &self.known(name)?;
        let name = &plugin.name;
        let digest = Digest::of(&bytes);
        if self.active(name) == Some(digest) {
            return Ok(Deployed::Unchanged);
        }
        let seen = Seen::of(Some(digest), signature.as_deref());
        let source = Source::Given(bytes.into(), signature.map(Into::into));
        let deployed = self.bring(name, plugin, source, seen).await;
        match &deployed {
            Ok(_) => {
                tracing::info!(plugin = %name, %digest, "a new version runs, handed in by an operator");
            }
            Err(error) => tracing::error!(
                plugin = %name, %digest, %error,
                "an artefact that an operator handed in was refused; what ran goes on"
            ),
        }
        deployed
    }

    /// Refuses an artefact of so many bytes that was handed in and not kept, because it has more than it may have.
    pub fn refuse_unread(&self, name: &str, bytes: usize, limit: usize) -> DeployError {
        let plugin = match self.known(name) {
            Ok(plugin) => plugin,
            Err(error) => return error,
        };
        let file = Source::handed_in(&plugin);
        let error = DeployError::Artefact { file, source: PluginError::TooLarge { bytes, limit } };
        self.refuse(&plugin.name, Seen::default(), Via::Deploy, &error);
        tracing::error!(
            plugin = name, %error,
            "an artefact that an operator handed in was refused; what ran goes on"
        );
        error
    }

    /// Goes back to the version before the one that runs, or to the kept one whose digest begins with `to`.
    /// Gives the digest that runs now.
    ///
    /// # Errors
    ///
    /// There is none, or it no longer works; what ran goes on.
    pub async fn rollback(&self, name: &str, to: Option<&str>) -> Result<Digest, DeployError> {
        let _turn = self.deploying.lock().await;
        let plugin = &self.known(name)?;
        let digest = self.go_back(plugin, to, Via::Rollback, "by an operator").await?;
        tracing::warn!(plugin = %plugin.name, %digest, "an operator rolled a version back");
        Ok(digest)
    }

    /// Goes back from a version that was found to fail, for this reason. `None` when it does not run any more, which
    /// may be so once the deploy that was under way has ended: what runs then was not judged.
    pub(super) async fn withdraw(
        &self,
        name: &PluginName,
        judged: Digest,
        reason: &str,
    ) -> Result<Option<Digest>, DeployError> {
        let _turn = self.deploying.lock().await;
        if self.active(name) != Some(judged) {
            return Ok(None);
        }
        let gone_back = async {
            let plugin = &self.known(name.as_str())?;
            self.go_back(plugin, None, Via::AutomaticRollback, reason).await
        };
        gone_back.await.map(Some).inspect_err(|_| self.end_trial(name))
    }

    /// Goes back, for this reason. Whoever calls has the turn.
    async fn go_back(
        &self,
        plugin: &Plugin,
        to: Option<&str>,
        via: Via,
        reason: &str,
    ) -> Result<Digest, DeployError> {
        let name = &plugin.name;
        let no_version = |source| DeployError::NoVersion { plugin: name.clone(), source };
        let (target, before) = {
            let states = self.state();
            let state = states.get(name);
            let history = state.map(|state| state.history.clone()).unwrap_or_default();
            let before = state.and_then(|state| state.before.clone());
            (history.target(to).map_err(no_version)?, before)
        };
        let prepared = match before.filter(|before| before.digest == target) {
            Some(before) => {
                before.artefact.check(&Source::Kept(target), plugin, &self.store)?;
                before
            }
            None => {
                let prepared = self.prepare(plugin, Source::Kept(target)).await;
                prepared.map_err(|refused| refused.error)?
            }
        };
        let accepted = Accepted::new(name, &prepared, Some(via));
        self.keep(&[Accepted { leaves_because: Some(reason), ..accepted }])?;
        self.run(name, prepared, Some(via));
        self.metrics.deploys.with_label_values(&[name.as_str(), "rolled_back"]).inc();
        Ok(target)
    }

    /// The plugins as the configuration has them at this moment.
    pub(super) fn plugins(&self) -> Arc<Plugins> {
        self.plugins.load_full()
    }

    pub(super) fn known(&self, name: &str) -> Result<Plugin, DeployError> {
        let plugins = self.plugins();
        let found = plugins.values().find(|known| known.name.as_str() == name);
        found.cloned().ok_or_else(|| DeployError::UnknownPlugin {
            plugin: name.to_owned(),
            known: plugins.keys().map(ToString::to_string).collect(),
        })
    }

    /// How large an artefact of a plugin may be.
    ///
    /// # Errors
    ///
    /// No stage uses the plugin.
    pub fn artefact_bytes(&self, name: &str) -> Result<usize, DeployError> {
        Ok(self.known(name)?.rules.policy.limits.artefact_bytes)
    }

    /// The name of the plugin in a stage.
    ///
    /// # Errors
    ///
    /// No route has such a stage.
    pub fn plugin_of(&self, route: &str, stage: &str) -> Result<String, DeployError> {
        let runs = |(known, definition): &(RouteName, StageDefinition)| {
            known.as_str() == route && definition.name.as_str() == stage
        };
        let plugins = self.plugins();
        let found = plugins.iter().find(|(_, plugin)| plugin.stages.iter().any(runs));
        found.map(|(name, _)| name.to_string()).ok_or_else(|| {
            let all = plugins.values().flat_map(|plugin| &plugin.stages);
            DeployError::UnknownStage {
                stage: format!("{route}/{stage}"),
                known: all.map(|(route, stage)| format!("{route}/{}", stage.name)).collect(),
            }
        })
    }

    /// Prepares an artefact and swaps it in, or keeps why not.
    async fn bring(
        &self,
        name: &PluginName,
        plugin: &Plugin,
        source: Source,
        seen: Seen,
    ) -> Result<Deployed, DeployError> {
        let via = if matches!(source, Source::Folder) { Via::Folder } else { Via::Deploy };
        let prepared = self.prepare(plugin, source).await;
        let accepted = match prepared {
            Ok(prepared) => {
                let new = prepared.digest;
                self.accept(name, prepared, Some(via))
                    .map(|()| new)
                    .map_err(|error| (Some(new), error))
            }
            Err(refused) => Err((refused.digest.or(seen.digest), refused.error)),
        };
        accepted.map(Deployed::Swapped).map_err(|(digest, error)| {
            self.refuse(name, Seen { digest, ..seen }, via, &error);
            error
        })
    }

    /// The file as it is, and its signature's.
    pub(super) async fn look_at(&self, plugin: &Plugin) -> Seen {
        let (file, signature) = (plugin.file.clone(), plugin.signature_file());
        let limit = plugin.rules.policy.limits.artefact_bytes;
        let look = move || {
            let digest = read(&file, limit).ok().map(|bytes| Digest::of(&bytes));
            Seen::of(digest, read_signature(&signature).ok().flatten().as_deref())
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// Makes an artefact's versions on a thread of its own.
    pub(super) async fn prepare(
        &self,
        plugin: &Plugin,
        source: Source,
    ) -> Result<Prepared, Box<Refused>> {
        let (sandbox, plugin, store) = (self.sandbox.clone(), plugin.clone(), self.store.clone());
        let file = source.name(&plugin);
        let runtime = Handle::current();
        let timer = self.metrics.prepare_seconds.start_timer();
        let prepare = move || runtime.block_on(prepare(&sandbox, &plugin, source, &store));
        let prepared = tokio::task::spawn_blocking(prepare).await.unwrap_or_else(|error| {
            let error = DeployError::Internal { file, reason: error.to_string() };
            Err(Box::new(Refused { digest: None, error }))
        });
        timer.observe_duration();
        prepared
    }

    /// Keeps the artefact, records that it runs, and swaps the stages, all in one step. `via` is none for
    /// what ran before the router was started.
    pub(super) fn accept(
        &self,
        name: &PluginName,
        prepared: Prepared,
        via: Option<Via>,
    ) -> Result<(), DeployError> {
        self.keep(&[Accepted::new(name, &prepared, via)])?;
        self.run(name, prepared, via);
        Ok(())
    }

    /// Swaps the stages of a plugin to what was recorded for it.
    pub(super) fn run(&self, name: &PluginName, prepared: Prepared, via: Option<Via>) {
        self.count_swaps(&prepared.versions);
        self.plans.swap(&prepared.versions);
        self.metrics.deploys.with_label_values(&[name.as_str(), "accepted"]).inc();
        let at_swap = prepared.counts();
        let is_return = matches!(via, Some(Via::Rollback | Via::AutomaticRollback));
        let mut states = self.state();
        let state = states.entry(name.clone()).or_default();
        let is_first = state.running.is_none();
        let before = state.trial.zip(state.running.as_ref());
        let before = before.map(|(trial, running)| running.counts().since(trial.at_swap));
        state.trial = Some(Trial {
            at_swap,
            before: before.unwrap_or_default(),
            since: Instant::now(),
            is_new: !is_first && !is_return,
        });
        state.manifest = Some(prepared.manifest.clone());
        state.before = state.running.replace(prepared);
        state.deploys += 1;
        state.refused = None;
        drop(states);
        self.swapped.notify_one();
    }

    /// Keeps artefacts, each with its plugin and how it came, and records that they run: all of them or none.
    pub(super) fn keep(&self, accepted: &[Accepted<'_>]) -> Result<(), DeployError> {
        for Accepted { prepared, .. } in accepted {
            let Signed { bytes, signature } = &prepared.artefact;
            self.store.put(prepared.digest, bytes, signature.as_deref())?;
        }
        self.record(accepted)
    }

    /// Counts the versions that are about to run where others do.
    pub(super) fn count_swaps(&self, versions: &[(RouteName, Stage)]) {
        for (route, stage) in versions {
            let plan = self.plans.of(route);
            if plan.is_some_and(|plan| plan.stages.iter().any(|known| known.name == stage.name)) {
                let labels = [route.as_str(), stage.name.as_str()];
                self.router_metrics.swaps.with_label_values(&labels).inc();
            }
        }
    }
}
