//! Brings artefacts from the plugin folder into the stages that use them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Handle;
use waypost_core::{PluginName, RouteDefinition, RouteName, StageDefinition, StageName};

use super::{DeployMetrics, PluginStatus, Refusal, StageStatus};
use crate::{
    router::{
        RouterMetrics, StageSet,
        stage::{Stage, StageVersion},
    },
    time::now_ms,
    wasm::{Digest, Manifest, PluginError, Sandbox, SandboxLimits},
};

/// How often an artefact is tried that was refused for a reason that may pass.
const PASSING_ATTEMPTS: u32 = 3;

/// Why an artefact was refused. What ran before goes on.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The file cannot be read.
    #[error("{file}: {source}; build the plugin and put it there", file = file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The artefact is of no use to any stage.
    #[error("{file}: {source}", file = file.display())]
    Artefact {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        source: PluginError,
    },
    /// A stage does not accept it.
    #[error("{file} in stage {route}/{stage}: {source}", file = file.display())]
    Stage {
        /// Which file.
        file: PathBuf,
        /// The stage's route.
        route: RouteName,
        /// The stage.
        stage: String,
        /// What is wrong.
        source: PluginError,
    },
    /// The thread that prepares artefacts went down.
    #[error("{file}: preparing it failed on the router's own account: {reason}", file = file.display())]
    Internal {
        /// Which file.
        file: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl DeployError {
    /// Whether the same artefact may be accepted at another time.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Artefact { source, .. } | Self::Stage { source, .. } => source.is_passing(),
            Self::Internal { .. } => true,
            Self::File { .. } => false,
        }
    }
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployed {
    /// The artefact runs in every stage that uses it.
    Swapped(Digest),
    /// The file holds what runs already, or what was refused for good.
    Unchanged,
}

/// Knows which stages use which file, and swaps their versions.
#[derive(Debug)]
pub struct Deployer {
    sandbox: Arc<Sandbox>,
    plugins: BTreeMap<PluginName, Plugin>,
    /// Each route's stages in the order of its definition.
    order: BTreeMap<RouteName, Vec<StageName>>,
    stages: Arc<StageSet>,
    router_metrics: Arc<RouterMetrics>,
    metrics: DeployMetrics,
    state: Mutex<BTreeMap<PluginName, State>>,
    /// One deploy at a time, so that two never swap against each other.
    deploying: tokio::sync::Mutex<()>,
}

/// A plugin that the configuration names.
#[derive(Debug, Clone)]
struct Plugin {
    file: PathBuf,
    limits: SandboxLimits,
    stages: Vec<(RouteName, StageDefinition)>,
}

/// What is known of a plugin's artefacts.
#[derive(Debug, Default)]
struct State {
    active: Option<Active>,
    deploys: u64,
    refused: Option<RefusedArtefact>,
}

/// What is known of the artefact that was refused last.
#[derive(Debug)]
struct RefusedArtefact {
    /// `None` when the file could not be read.
    digest: Option<Digest>,
    refusal: Refusal,
    /// How often it may be tried again.
    attempts_left: u32,
}

#[derive(Debug)]
struct Active {
    digest: Digest,
    manifest: Manifest,
    since_ms: u64,
}

/// An artefact that no stage runs; the digest goes with it, if the file could be read.
struct Refused {
    digest: Option<Digest>,
    error: DeployError,
}

/// The versions that an artefact makes: one for each stage that uses it.
struct Prepared {
    digest: Digest,
    manifest: Manifest,
    versions: Vec<(RouteName, Stage)>,
}

impl Deployer {
    /// A deployer for the plugins that these routes use. Nothing is loaded yet.
    #[must_use]
    pub fn new(
        sandbox: Arc<Sandbox>,
        folder: &Path,
        routes: &[RouteDefinition],
        limits: impl Fn(&PluginName) -> SandboxLimits,
        stages: Arc<StageSet>,
        router_metrics: Arc<RouterMetrics>,
        metrics: DeployMetrics,
    ) -> Self {
        let mut plugins: BTreeMap<PluginName, Plugin> = BTreeMap::new();
        let mut order = BTreeMap::new();
        for route in routes {
            let names = route.stages.iter().map(|stage| stage.name.clone()).collect();
            order.insert(route.name.clone(), names);
            for stage in &route.stages {
                let plugin = plugins.entry(stage.plugin.clone()).or_insert_with(|| Plugin {
                    file: folder.join(format!("{}.wasm", stage.plugin)),
                    limits: limits(&stage.plugin),
                    stages: Vec::new(),
                });
                plugin.stages.push((route.name.clone(), stage.clone()));
            }
        }
        let (state, deploying) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { sandbox, plugins, order, stages, router_metrics, metrics, state, deploying }
    }

    /// Loads every plugin for the first time, all at once.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them; then none runs.
    pub async fn load(&self) -> Result<(), Vec<DeployError>> {
        let _turn = self.deploying.lock().await;
        let preparing = self.plugins.values().map(|plugin| self.prepare(plugin));
        let prepared = futures_util::future::join_all(preparing).await;
        let (mut ready, mut errors) = (Vec::new(), Vec::new());
        for (name, prepared) in self.plugins.keys().zip(prepared) {
            match prepared {
                Ok(prepared) => ready.push((name, prepared)),
                Err(refused) => errors.push(refused.error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        for (name, prepared) in ready {
            self.accept(name, prepared);
        }
        Ok(())
    }

    /// Looks at every file, and deploys those that hold something new. Outcomes are logged, counted and
    /// kept for [`status`](Self::status).
    pub async fn rescan(&self) {
        for name in self.plugins.keys() {
            match self.deploy(name).await {
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

    async fn deploy(&self, name: &PluginName) -> Result<Deployed, DeployError> {
        let _turn = self.deploying.lock().await;
        let Some(plugin) = self.plugins.get(name) else {
            return Ok(Deployed::Unchanged);
        };
        let digest = self.digest_of(plugin).await;
        if !self.is_news(name, digest) {
            return Ok(Deployed::Unchanged);
        }
        match self.prepare(plugin).await {
            Ok(prepared) => {
                let digest = prepared.digest;
                self.accept(name, prepared);
                Ok(Deployed::Swapped(digest))
            }
            Err(refused) => {
                self.refuse(name, refused.digest.or(digest), &refused.error);
                Err(refused.error)
            }
        }
    }

    /// The digest of the file as it is; `None` when it cannot be read.
    async fn digest_of(&self, plugin: &Plugin) -> Option<Digest> {
        let file = plugin.file.clone();
        let limit = plugin.limits.artefact_bytes;
        let read = move || read(&file, limit).ok().map(|bytes| Digest::of(&bytes));
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    /// Whether a file's bytes are to be tried. When they are those that run, an earlier refusal is over.
    fn is_news(&self, name: &PluginName, digest: Option<Digest>) -> bool {
        let mut states = self.state();
        let Some(known) = states.get_mut(name) else {
            return true;
        };
        if digest.is_some() && known.active.as_ref().map(|active| active.digest) == digest {
            known.refused = None;
            return false;
        }
        match &known.refused {
            Some(refused) if refused.digest == digest => refused.attempts_left > 0,
            _ => true,
        }
    }

    /// Makes an artefact's versions on a thread of its own.
    async fn prepare(&self, plugin: &Plugin) -> Result<Prepared, Box<Refused>> {
        let (sandbox, plugin) = (self.sandbox.clone(), plugin.clone());
        let file = plugin.file.clone();
        let runtime = Handle::current();
        let timer = self.metrics.prepare_seconds.start_timer();
        let prepare = move || runtime.block_on(prepare(&sandbox, &plugin));
        let prepared = tokio::task::spawn_blocking(prepare).await.unwrap_or_else(|error| {
            let error = DeployError::Internal { file, reason: error.to_string() };
            Err(Box::new(Refused { digest: None, error }))
        });
        timer.observe_duration();
        prepared
    }

    /// Swaps the stages, all in one step.
    fn accept(&self, name: &PluginName, prepared: Prepared) {
        let Prepared { digest, manifest, versions } = prepared;
        let is_first = self.state().get(name).is_none_or(|state| state.active.is_none());
        let mut routes = (*self.stages.all()).clone();
        for (route, stage) in versions {
            if !is_first {
                let swaps = &self.router_metrics.swaps;
                swaps.with_label_values(&[route.as_str(), stage.name.as_str()]).inc();
            }
            let mut stages = routes.remove(route.as_str()).unwrap_or_default().to_vec();
            match stages.iter_mut().find(|known| known.name == stage.name) {
                Some(known) => *known = stage,
                None => stages.push(stage),
            }
            self.sort(&route, &mut stages);
            routes.insert(route.as_str().to_owned(), stages.into());
        }
        self.stages.replace(routes);
        self.metrics.deploys.with_label_values(&[name.as_str(), "accepted"]).inc();
        let mut states = self.state();
        let state = states.entry(name.clone()).or_default();
        state.active = Some(Active { digest, manifest, since_ms: now_ms() });
        state.deploys += 1;
        state.refused = None;
    }

    /// Brings a route's stages into the order of its definition; they load in any order.
    fn sort(&self, route: &RouteName, stages: &mut [Stage]) {
        if let Some(order) = self.order.get(route) {
            stages.sort_by_key(|stage| order.iter().position(|name| *name == stage.name));
        }
    }

    fn refuse(&self, name: &PluginName, digest: Option<Digest>, error: &DeployError) {
        self.metrics.deploys.with_label_values(&[name.as_str(), "refused"]).inc();
        let refusal = Refusal {
            digest: digest.map(|digest| digest.to_string()),
            error: error.to_string(),
            at_ms: now_ms(),
        };
        let mut states = self.state();
        let known = states.entry(name.clone()).or_default();
        let attempts_left = match &known.refused {
            _ if !error.is_passing() => 0,
            Some(last) if last.digest == digest => last.attempts_left.saturating_sub(1),
            _ => PASSING_ATTEMPTS - 1,
        };
        known.refused = Some(RefusedArtefact { digest, refusal, attempts_left });
    }

    /// Every plugin that the configuration names, by name.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        let states = self.state();
        let stage = |(route, stage): &(RouteName, StageDefinition)| {
            StageStatus::of(route, &stage.name, &self.router_metrics)
        };
        let status = |(name, plugin): (&PluginName, &Plugin)| {
            let state = states.get(name)?;
            let active = state.active.as_ref()?;
            Some(PluginStatus {
                name: name.as_str().to_owned(),
                file: plugin.file.display().to_string(),
                digest: active.digest.to_string(),
                version: active.manifest.version.clone(),
                role: active.manifest.role.to_owned(),
                deterministic: active.manifest.deterministic,
                imports: active.manifest.imports.clone(),
                stages: plugin.stages.iter().map(stage).collect(),
                since_ms: active.since_ms,
                deploys: state.deploys,
                refused: state.refused.as_ref().map(|refused| refused.refusal.clone()),
            })
        };
        self.plugins.iter().filter_map(status).collect()
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<PluginName, State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiles an artefact and makes a version for each stage that uses it.
async fn prepare(sandbox: &Sandbox, plugin: &Plugin) -> Result<Prepared, Box<Refused>> {
    let file = plugin.file.clone();
    let bytes = read(&file, plugin.limits.artefact_bytes)
        .map_err(|error| Box::new(Refused { digest: None, error }))?;
    let digest = Digest::of(&bytes);
    let failed = |error| Box::new(Refused { digest: Some(digest), error });
    let artefact = sandbox
        .compile(&bytes, plugin.limits)
        .map_err(|source| failed(DeployError::Artefact { file: file.clone(), source }))?;
    let mut versions = Vec::new();
    let mut manifest = None;
    for (route, stage) in &plugin.stages {
        let version = sandbox.prepare(
            &artefact,
            &stage.plugin,
            &stage.name,
            &stage.configuration,
            plugin.limits,
        );
        let version = version.await.map_err(|source| {
            let (route, stage) = (route.clone(), stage.name.as_str().to_owned());
            failed(DeployError::Stage { file: file.clone(), route, stage, source })
        })?;
        manifest.get_or_insert_with(|| version.manifest().clone());
        let version: Arc<dyn StageVersion> = Arc::new(version);
        versions.push((route.clone(), Stage { name: stage.name.clone(), version }));
    }
    let manifest = manifest.ok_or_else(|| {
        let reason = "no stage uses it".to_owned();
        failed(DeployError::Internal { file: file.clone(), reason })
    })?;
    Ok(Prepared { digest, manifest, versions })
}

/// The file's bytes. One that is too large is not read.
fn read(file: &Path, limit: usize) -> Result<Vec<u8>, DeployError> {
    let failed = |source| DeployError::File { file: file.to_owned(), source };
    let length = fs::metadata(file).map_err(failed)?.len();
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes > limit {
        let source = PluginError::TooLarge { bytes, limit };
        return Err(DeployError::Artefact { file: file.to_owned(), source });
    }
    fs::read(file).map_err(failed)
}
