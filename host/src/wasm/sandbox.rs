//! The engine that all plugins share, and the two steps from bytes to a version.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use wasmtime::{
    Cache, Config, Engine,
    component::{Component, HasSelf, Linker},
};
use waypost_core::{PluginName, StageName};

use super::{
    Artefact, ChildCompiler, Compiler, Digest, Interface, Interfaces, Manifest, PluginError,
    PluginPolicy, SandboxLimits, SandboxMetrics, Version,
    artefact::componentise,
    aside::Aside,
    bindings::{Plugin, PluginPre},
    compiler::open,
    imports::Guest,
    meter::Ticker,
    standing::Standing,
    version::Offer,
};

/// Wasm frames may take so much of a fibre's stack.
const WASM_STACK_BYTES: usize = 512 << 10;
/// A fibre's stack: what Wasm may take, and room for the host functions that it calls.
const FIBRE_STACK_BYTES: usize = 1 << 20;
/// The package whose interfaces are offered.
const PACKAGE: &str = "waypost:plugin/";

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine's configuration does not suit this machine.
    #[error("the WebAssembly engine does not start on this machine: {0:#}")]
    Engine(wasmtime::Error),
    /// The folder of compiled artefacts is of no use.
    #[error("the folder for compiled artefacts cannot be used: {0:#}")]
    Cache(wasmtime::Error),
    /// The thread of the epoch, or those for calls that take long, do not start.
    #[error("the sandbox's threads do not start: {0}")]
    Threads(#[from] std::io::Error),
}

/// Compiles artefacts and makes versions of stages; one is enough for a process.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<Guest>,
    metrics: Arc<SandboxMetrics>,
    aside: Arc<Aside>,
    source: Source,
    _ticker: Ticker,
}

/// Where machine code comes from.
enum Source {
    /// This process compiles it.
    Engine,
    /// A child compiles it into the folder, where it is found.
    Child {
        compiler: ChildCompiler,
        folder: PathBuf,
        /// One load at a time, so that its hits are told from those of others.
        cache: Box<Mutex<Cache>>,
    },
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Starts the engine. Whoever compiles keeps what it compiled in a folder, if it has one.
    ///
    /// # Errors
    ///
    /// The engine does not suit the machine, or the folder cannot be used.
    pub fn new(compiler: Compiler, metrics: Arc<SandboxMetrics>) -> Result<Self, EngineError> {
        let mut config = configuration();
        let source = match compiler {
            Compiler::InProcess => Source::Engine,
            Compiler::Child { compiler, folder } => {
                let cache = open(&folder).map_err(EngineError::Cache)?;
                config.cache(Some(cache.clone()));
                Source::Child { compiler, folder, cache: Box::new(Mutex::new(cache)) }
            }
        };
        let engine = Engine::new(&config).map_err(EngineError::Engine)?;
        let mut linker = Linker::new(&engine);
        Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)
            .map_err(EngineError::Engine)?;
        let ticker = Ticker::start(engine.clone())?;
        let aside = Arc::new(Aside::start()?);
        Ok(Self { engine, linker, metrics, aside, source, _ticker: ticker })
    }

    /// Compiles an artefact and links its imports. This blocks for as long as the compiler takes.
    ///
    /// # Errors
    ///
    /// Bytes that are no plugin, or one that the router cannot run.
    pub fn compile(&self, bytes: &[u8], limits: SandboxLimits) -> Result<Artefact, PluginError> {
        if bytes.len() > limits.artefact_bytes {
            let (bytes, limit) = (bytes.len(), limits.artefact_bytes);
            return Err(PluginError::TooLarge { bytes, limit });
        }
        let component = self.component(bytes)?;
        let mut imports = Interfaces::new();
        for (name, _) in component.component_type().imports(&self.engine) {
            imports.extend(offered(name)?);
        }
        let contract = |error: wasmtime::Error| {
            let mut error = format!("{error:#}");
            if error.contains("no export") {
                error += "; is #[filter], #[transform], #[router] or #[upcast] on the plugin's function?";
            }
            PluginError::Contract(error)
        };
        let linked = self.linker.instantiate_pre(&component).map_err(contract)?;
        let linked = PluginPre::new(linked).map_err(contract)?;
        Ok(Artefact { digest: Digest::of(bytes), linked, imports })
    }

    fn component(&self, bytes: &[u8]) -> Result<Component, PluginError> {
        let load = |component: &[u8]| {
            Component::from_binary(&self.engine, component)
                .map_err(|error| PluginError::Compile(format!("{error:#}")))
        };
        match &self.source {
            Source::Engine => load(&componentise(bytes)?),
            Source::Child { compiler, folder, cache } => {
                let component = compiler.compile(folder, bytes)?;
                let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
                let hits = cache.cache_hits();
                // If the folder has lost it since, the engine compiles here what a child has compiled
                // within its limits: that is bounded, but not how it should be.
                let loaded = load(&component)?;
                if cache.cache_hits() > hits { Ok(loaded) } else { Err(PluginError::CacheLost) }
            }
        }
    }

    /// Makes a version of a stage: instantiates the artefact, reads its manifest, configures it and runs
    /// it over a self-test batch. One that imports what it is not granted is not run at all.
    ///
    /// # Errors
    ///
    /// Whatever of that fails; nothing has changed then.
    pub async fn prepare(
        &self,
        artefact: &Artefact,
        plugin: &PluginName,
        stage: &StageName,
        configuration: &str,
        policy: &PluginPolicy,
    ) -> Result<Version, PluginError> {
        let offer = self.offer(artefact, plugin, stage, configuration, policy);
        Version::prove(offer).await
    }

    /// Asks an artefact what it is, before it has a configuration.
    ///
    /// # Errors
    ///
    /// It fails at its start, or its manifest is wrong.
    pub async fn manifest(
        &self,
        artefact: &Artefact,
        plugin: &PluginName,
        stage: &StageName,
        policy: &PluginPolicy,
    ) -> Result<Manifest, PluginError> {
        let offer = self.offer(artefact, plugin, stage, "{}", policy);
        let manifest = async move { Standing::start(&offer).await?.manifest(&offer).await };
        self.aside.run(manifest).await.ok_or(PluginError::Interrupted)?
    }

    fn offer(
        &self,
        artefact: &Artefact,
        plugin: &PluginName,
        stage: &StageName,
        configuration: &str,
        policy: &PluginPolicy,
    ) -> Offer {
        Offer {
            artefact: artefact.clone(),
            plugin: plugin.clone(),
            stage: stage.clone(),
            configuration: configuration.to_owned(),
            policy: policy.clone(),
            metrics: self.metrics.clone(),
            aside: self.aside.clone(),
        }
    }
}

/// What an engine is made with, apart from its cache. Machine code is found again by it, so that a child
/// must have the same.
pub(super) fn configuration() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Guests call the host and nothing else: no tasks, streams or futures of their own.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBRE_STACK_BYTES);
    config
}

/// The interface of the contract that an import such as `waypost:plugin/log@1.0.0` names; none for the
/// one that only holds types.
pub(super) fn offered(import: &str) -> Result<Option<Interface>, PluginError> {
    let unknown = || PluginError::UnknownImport(import.to_owned());
    let interface = import.strip_prefix(PACKAGE).ok_or_else(unknown)?;
    let (name, version) = interface.split_once('@').ok_or_else(unknown)?;
    if !version.starts_with("1.") {
        return Err(unknown());
    }
    if name == "types" { Ok(None) } else { name.parse().map(Some).map_err(|_| unknown()) }
}
