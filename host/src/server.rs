//! The running router: its parts put together in one order, and taken apart in the other.

use std::{
    fs::{self, File, TryLockError},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use waypost_core::{PluginName, RouteName, StreamName};
use waypost_storage::{Fence, ReadError};

use crate::{
    admin::{Admin, AdminError, AdminState, Lifecycle, Phase, Token, TokenError, Traffic},
    config::Settings,
    deploy::{
        DeployError, DeployMetrics, Deployer, DeployerParts, Probation, StoreError, VersionStore,
        WatchError,
    },
    dlq::{Dlq, DlqMetrics},
    groups::{GroupMetrics, Groups},
    net::{BindError, NetMetrics, Server, TlsError},
    reload::ReloadMetrics,
    router::{LaneMetrics, Plans, Router, RouterMetrics, Tails},
    streams::{StorageError, StreamGauges, StreamMetrics, StreamSettings, Streams, Upkeep},
    wasm::{ChildCompiler, Compiler, EngineError, Sandbox, SandboxMetrics},
    watch::Watcher,
};

/// The file below the state folder that says where a running router listens.
pub const ENDPOINTS_FILE: &str = "endpoints.json";

/// The folder below the state folder that keeps the artefacts that ran.
const VERSIONS_FOLDER: &str = "versions";

/// The folder below the state folder for what is compiled in one run alone.
const COMPILED_FOLDER: &str = "compiled";

/// The file below the state folder that a running router holds locked.
const LOCK_FILE: &str = "lock";

/// How long peers have to learn that their connection is closed.
const LONGEST_FAREWELL: Duration = Duration::from_secs(1);

/// Why a router does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be made or written.
    #[error("the state folder {folder}: {source}; set router.state_folder to one that can be written", folder = folder.display())]
    State {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another router has the state folder.
    #[error(
        "the state folder {folder} belongs to a router that runs{}, or give this one a router.state_folder of its own",
        .pid.map_or("; stop it".to_owned(), |pid| format!(" as process {pid}; stop it with `kill {pid}`")),
        folder = folder.display()
    )]
    StateInUse {
        /// Which folder.
        folder: PathBuf,
        /// The other router's process, if it said so already.
        pid: Option<u32>,
    },
    /// A series has the name of another, which is a fault of ours.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// There is no sandbox.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Plugins are missing or of no use; everything that is wrong with any of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Plugins(Vec<DeployError>),
    /// The versions that ran cannot be kept or found.
    #[error(transparent)]
    Versions(#[from] StoreError),
    /// The plugin folder cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Streams cannot be kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It cannot be read how far groups came.
    #[error("how far groups came cannot be read: {0}")]
    Groups(#[from] ReadError),
    /// The endpoint does not stand.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The token of the admin server cannot be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The admin server does not stand.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// Why other settings do not hold.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A stream for the dead letters of a route is new, and streams come with the next start.
    #[error(
        "the route {route} would read the stream {stream}, and the stream for its dead letters, {letters}, comes \
         with the next start: start the router anew",
        letters = route.dead_letter_topic()
    )]
    LettersNotKept {
        /// The route.
        route: RouteName,
        /// The stream.
        stream: StreamName,
    },
    /// There is another certificate, which cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Plugins refuse what they are to be configured with or limited to; all that any of them says.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Plugins(Vec<DeployError>),
    /// The plugin folder is to be watched, and cannot be.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Where a router listens, as its state folder tells it to tools on the same machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The QUIC endpoint.
    pub listen: SocketAddr,
    /// The admin server, if there is one.
    pub admin: Option<SocketAddr>,
    /// The authority that clients must trust, when the certificate is the development one.
    pub ca: Option<PathBuf>,
    /// The process.
    pub pid: u32,
}

/// A running router.
#[derive(Debug)]
pub struct Waypost {
    lifecycle: Arc<Lifecycle>,
    router: Router,
    streams: Streams,
    groups: Groups,
    upkeep: Upkeep,
    tails: Tails,
    server: Server,
    admin: Option<Admin>,
    watcher: Option<Watcher>,
    probation: Probation,
    deployer: Arc<Deployer>,
    reload_metrics: ReloadMetrics,
    endpoints: Endpoints,
    endpoints_file: PathBuf,
    /// Keeps other routers away from the state folder; the system lets go of it with the process.
    _lock: File,
}

impl Waypost {
    /// Starts a router on the current runtime. When this returns it is ready. Artefacts are compiled by
    /// children of `compiler`; without one by this process, which then trusts them.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from routing: its folder, a plugin, an address, a certificate.
    pub async fn start(
        settings: Settings,
        compiler: Option<ChildCompiler>,
    ) -> Result<Self, StartError> {
        let state = &settings.state_folder;
        let failed = |source| StartError::State { folder: state.clone(), source };
        fs::create_dir_all(state).map_err(failed)?;
        let lock = lock(state)?;
        // Tools must not find the addresses of a router that is gone.
        let endpoints_file = state.join(ENDPOINTS_FILE);
        remove_if_there(&endpoints_file).map_err(failed)?;

        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let router_metrics = Arc::new(RouterMetrics::register(&registry)?);
        let net_metrics = Arc::new(NetMetrics::register(&registry)?);
        let sandbox_metrics = Arc::new(SandboxMetrics::register(&registry)?);
        let deploy_metrics = DeployMetrics::register(&registry)?;
        let reload_metrics = ReloadMetrics::register(&registry)?;
        let stream_metrics = StreamMetrics::register(&registry)?;
        let group_metrics = GroupMetrics::register(&registry)?;
        let dlq_metrics = DlqMetrics::register(&registry)?;

        let plugins = &settings.plugins;
        let compiler = match compiler {
            Some(compiler) => {
                let folder = match &plugins.cache {
                    Some(folder) => folder.clone(),
                    None => emptied(state).map_err(failed)?,
                };
                Compiler::Child { compiler, folder }
            }
            None => Compiler::InProcess,
        };
        let sandbox = Arc::new(Sandbox::new(compiler, sandbox_metrics)?);
        let plans = Arc::new(Plans::new(router_metrics));
        let store = VersionStore::open(state.join(VERSIONS_FOLDER), plugins.keep_versions)?;
        let parts = DeployerParts { sandbox, store, plans: plans.clone(), metrics: deploy_metrics };
        let rules = |plugin: &PluginName| plugins.rules_of(plugin).clone();
        let deployer = Deployer::new(parts, &plugins.folder, &settings.routes, rules);
        let deployer = Arc::new(deployer);

        // The admin server comes first, so that `/readyz` says "starting" while plugins compile.
        let lifecycle = Arc::new(Lifecycle::default());
        let traffic = Traffic::default();
        let admin = match &settings.admin {
            Some(admin) => {
                let (lifecycle, deployer) = (lifecycle.clone(), deployer.clone());
                let token = Token::of(state)?;
                let (registry, traffic) = (registry.clone(), traffic.clone());
                let state = AdminState { registry, lifecycle, deployer, traffic, token };
                Some(Admin::start(admin.address, state).await?)
            }
            None => None,
        };

        let StreamSettings { trim_interval, forget_producers_after, .. } = settings.streams;
        let streams = Streams::open(settings.streams, stream_metrics).await?;
        registry.register(Box::new(StreamGauges::new(streams.clone())?))?;
        // No address is bound before every plugin runs: a client never meets a route without its stages.
        deployer.load().await.map_err(StartError::Plugins)?;
        let probation = Probation::start(deployer.clone(), plugins.rollback);
        let watcher = match plugins.watch {
            true => Some(deployer.watch(&plugins.folder)?),
            false => None,
        };
        let router = Router::start(plans, settings.router, streams.clone());
        registry.register(Box::new(LaneMetrics::new(router.clone())?))?;
        // No publisher comes before every route knows where it begins.
        router.begun().await;
        let tails = Tails::start(&router, &streams);
        let groups = Groups::open(streams.clone(), router.clone(), settings.groups, group_metrics);
        let groups = groups.await?;
        let served = (streams.clone(), groups.clone());
        let server = Server::bind(settings.net, router.clone(), served, net_metrics)?;
        let upkeep = Upkeep::start(streams.clone(), trim_interval, forget_producers_after);

        let dlq = Dlq::new(streams.clone(), router.clone(), dlq_metrics);
        let served = (streams.clone(), groups.clone(), dlq);
        traffic.begin(router.clone(), server.connections().clone(), served);

        let endpoints = Endpoints {
            listen: server.address(),
            admin: admin.as_ref().map(Admin::address),
            ca: server.ca().map(std::path::absolute).transpose().map_err(failed)?,
            pid: std::process::id(),
        };
        write_whole(&endpoints_file, &endpoints).map_err(failed)?;
        lifecycle.enter(Phase::Ready);
        Ok(Self {
            lifecycle,
            router,
            streams,
            groups,
            upkeep,
            tails,
            server,
            admin,
            watcher,
            probation,
            deployer,
            reload_metrics,
            endpoints,
            endpoints_file,
            _lock: lock,
        })
    }

    /// Whether a write to storage has failed: nothing more is stored then, and the process must end and start
    /// anew to recover.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.streams.storage().fence().clone()
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// What reloads of the configuration count.
    #[must_use]
    pub fn reload_metrics(&self) -> &ReloadMetrics {
        &self.reload_metrics
    }

    /// Lets other settings hold, as far as they may change while it runs: see
    /// [`reloaded`](crate::config::reloaded).
    ///
    /// # Errors
    ///
    /// A route would read a stream without its dead letters being kept, there is another certificate that cannot be used, or a plugin is missing or refuses its configuration or its
    /// limits; then nothing has changed.
    pub async fn reload(&mut self, settings: Settings) -> Result<(), ReloadError> {
        for route in &settings.routes {
            if let Some(stream) = self.streams.table().read_without_letters(route) {
                let (route, stream) = (route.name.clone(), stream.name.clone());
                return Err(ReloadError::LettersNotKept { route, stream });
            }
        }
        let change = self.server.prepare(settings.net).await?;
        let plugins = &settings.plugins;
        let rules = |plugin: &PluginName| plugins.rules_of(plugin).clone();
        let watcher = match plugins.watch && self.watcher.is_none() {
            true => Some(self.deployer.watch(&plugins.folder)?),
            false => None,
        };
        let configured = self.deployer.reconfigure(&settings.routes, rules).await;
        configured.map_err(ReloadError::Plugins)?;
        self.watcher = self.watcher.take().or(watcher).filter(|_| plugins.watch);
        self.router.follow_plans();
        self.server.apply(change);
        self.router.set_block_max(settings.router.block_max);
        self.router.set_topics(settings.router.topics);
        self.groups.set_settings(settings.groups);
        self.deployer.set_keep_versions(settings.plugins.keep_versions);
        self.probation = Probation::start(self.deployer.clone(), settings.plugins.rollback);
        let ca = self.server.ca().map(|ca| std::path::absolute(&ca).unwrap_or(ca));
        if ca != self.endpoints.ca {
            self.endpoints.ca = ca;
            if let Err(error) = write_whole(&self.endpoints_file, &self.endpoints) {
                let file = self.endpoints_file.display();
                tracing::error!(%file, %error, "tools are told of an authority that is not used any more");
            }
        }
        Ok(())
    }

    /// Reads the certificate again, as it does by itself after the files changed. One that cannot be used
    /// changes nothing.
    pub async fn reload_certificate(&self) {
        self.server.reload_certificate().await;
    }

    /// Stops within the deadline: takes no more connections and publishes, tells clients, does what is
    /// queued, hands it over, and closes. Gives whether everything was done in time.
    pub async fn drain(self, deadline: Duration) -> bool {
        // What is left of the deadline is for telling those who did not go.
        let farewell = (deadline / 4).min(LONGEST_FAREWELL);
        let end = Instant::now() + deadline.saturating_sub(farewell);
        self.lifecycle.enter(Phase::Draining);
        // A deploy would only be in the way now.
        drop((self.watcher, self.probation, self.upkeep));
        self.streams.stop();
        self.server.go_away(deadline);
        self.groups.stop();
        // Publishes that wait for room in a route that takes nothing must not keep the others from their end.
        let patience = deadline / 4;
        let drained = tokio::time::timeout_at(end, self.router.drain(patience)).await.is_ok();
        let patience = end.saturating_duration_since(Instant::now());
        let gone = self.server.close(patience, farewell).await;
        // What a group cannot write it finds again by its stored position.
        let end = end.max(Instant::now() + farewell);
        let settled = tokio::time::timeout_at(end, self.groups.close()).await.is_ok();
        drop((self.admin, self.router, self.tails));
        self.streams.close().await;
        // Left behind it would only mislead tools, which find nobody at its address.
        let _ = remove_if_there(&self.endpoints_file);
        drained && gone && settled
    }
}

/// A folder for compiled artefacts that holds nothing of an earlier run; it is absolute, as the compiler
/// wants it.
fn emptied(state: &Path) -> io::Result<PathBuf> {
    let folder = std::path::absolute(state.join(COMPILED_FOLDER))?;
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(folder),
    }
}

/// Takes the state folder for this process alone.
fn lock(state: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::State { folder: state.to_owned(), source };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(state.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let said = fs::read(state.join(ENDPOINTS_FILE)).ok();
            let said: Option<Endpoints> = said.and_then(|text| serde_json::from_slice(&text).ok());
            let (folder, pid) = (state.to_owned(), said.map(|endpoints| endpoints.pid));
            Err(StartError::StateInUse { folder, pid })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes the file in one step, so that nobody reads half of it.
fn write_whole(path: &Path, endpoints: &Endpoints) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    fs::write(&beside, serde_json::to_vec(endpoints)?)?;
    fs::rename(&beside, path)
}
