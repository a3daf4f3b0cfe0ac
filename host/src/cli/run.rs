//! `waypost run`: a router from its configuration to its drain.

use anyhow::Context as _;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use waypost_storage::DeclareError;

use super::{Failure, config::ConfigOptions, connection::init_log};
use crate::{
    config::{ConfigErrors, Loaded, Origins, Place, Problem, Settings, Sources},
    deploy::DeployError,
    reload::{Cause, Reloader},
    server::{StartError, Waypost},
    streams::StorageError,
    wasm::{ChildCompiler, PluginError},
};

/// How to run.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigOptions,
    /// Only check the configuration and load the plugins, then end.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let sources = options.config.sources();
    let loaded = options.config.load()?;
    init_log("info")?;
    let runtime = runtime(&loaded.settings).context("the async runtime does not start")?;
    let done = if options.check {
        runtime.block_on(check(loaded))
    } else {
        runtime.block_on(route(loaded, sources))
    };
    // A plugin that is being prepared on a thread of its own must not hold up the end.
    runtime.shutdown_background();
    done
}

/// What kept the router from starting: the configuration, where it names what no plugin accepts.
fn failure(error: StartError, origins: &Origins) -> Failure {
    let errors = match error {
        // What cannot be kept or found is no fault of the configuration.
        StartError::Plugins(errors)
            if !errors.iter().any(|error| matches!(error, DeployError::Store(_))) =>
        {
            errors
        }
        StartError::Storage(StorageError::Declare {
            stream,
            source: source @ DeclareError::Partitions { .. },
        }) => {
            let text = source.to_string();
            let (message, hint) = text.split_once("; ").unwrap_or((&text, "keep the number"));
            let message = format!("the stream {stream}: {message}");
            let problem = Problem::error(origins.of_stream(&stream), message, hint);
            return Failure::Config(Box::new(ConfigErrors::new(vec![problem])));
        }
        StartError::Storage(error) => return Failure::Storage(error.to_string()),
        other => return other.into(),
    };
    let problem = |error: DeployError| {
        let place = match &error {
            DeployError::Stage { source: PluginError::NotGranted(refused), .. } => {
                origins.of_plugin(refused.plugin.as_str())
            }
            DeployError::Stage { route, stage, .. } => origins.of_configuration(route, stage),
            DeployError::File { file, .. }
            | DeployError::Untrusted { file, .. }
            | DeployError::Artefact { file, .. }
            | DeployError::Internal { file, .. } => {
                let name = file.file_stem().unwrap_or_default();
                origins.of_plugin(&name.to_string_lossy())
            }
            DeployError::UnknownPlugin { .. }
            | DeployError::UnknownStage { .. }
            | DeployError::NoVersion { .. }
            | DeployError::Store(_) => Place::Default,
        };
        let text = error.to_string();
        let (message, hint) = text.rsplit_once("; ").unwrap_or((&text, "see what the plugin says"));
        Problem::error(place, message, hint)
    };
    Failure::Config(Box::new(ConfigErrors::new(errors.into_iter().map(problem).collect())))
}

fn runtime(settings: &Settings) -> std::io::Result<Runtime> {
    match settings.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    }
    .worker_threads(settings.threads.max(1))
    .enable_all()
    .build()
}

/// Children of this command, which know [`Command::CompileArtefact`](super::Command).
fn compiler(settings: &Settings) -> Result<ChildCompiler, Failure> {
    let compiler = ChildCompiler::of_this_program(settings.plugins.compile);
    Ok(compiler.context("the router does not find its own program, which compiles plugins")?)
}

/// Starts everything on addresses of its own, so that a router that runs is not in the way.
async fn check(loaded: Loaded) -> Result<(), Failure> {
    let Loaded { mut settings, origins, .. } = loaded;
    let compiler = compiler(&settings)?;
    settings.net.address.set_port(0);
    settings.admin = None;
    settings.plugins.watch = false;
    let folder = std::env::temp_dir().join(format!("waypost-check-{}", std::process::id()));
    settings.state_folder.clone_from(&folder);
    settings.net.state_folder.clone_from(&folder);
    settings.streams.folder = folder.join("storage");
    let started = Waypost::start(settings, Some(compiler)).await;
    let drained = match started {
        Ok(waypost) => Ok(waypost.drain(std::time::Duration::from_secs(1)).await),
        Err(error) => Err(error),
    };
    // What was made for the check alone; a leftover in the temporary folder does no harm.
    let _ = std::fs::remove_dir_all(&folder);
    drained.map_err(|error| failure(error, &origins))?;
    eprintln!("the configuration is good and every plugin runs");
    Ok(())
}

async fn route(loaded: Loaded, sources: Sources) -> Result<(), Failure> {
    let settings = loaded.settings.clone();
    let compiler = compiler(&settings)?;
    // Before anything else, so that no signal finds the default that kills.
    let mut signals = Signals::listen().context("signals cannot be awaited")?;
    let started = tokio::select! {
        started = Waypost::start(settings, Some(compiler)) => started,
        name = signals.stop() => {
            tracing::info!(signal = name, "stopped before it was ready");
            return Ok(());
        }
    };
    let mut waypost = started.map_err(|error| failure(error, &loaded.origins))?;
    let endpoints = waypost.endpoints();
    tracing::info!(listen = %endpoints.listen, "the router is ready");
    if let Some(admin) = endpoints.admin {
        tracing::info!(%admin, "metrics and health are served");
    }
    if let Some(ca) = &endpoints.ca {
        tracing::info!(ca = %ca.display(), "clients trust the development certificate by --ca");
    }

    let mut reloader = Reloader::new(sources, loaded);
    let (changed, mut changes) = mpsc::channel(1);
    let _watcher = reloader.watch(changed.clone());
    let fence = waypost.fence();
    let end = loop {
        let cause = tokio::select! {
            told = signals.next() => match told {
                Told::Reload => Cause::Asked,
                Told::Stop(name) => break End::Signal(name),
            },
            reason = fence.raised() => break End::Fenced(reason),
            Some(()) = changes.recv() => Cause::Watched,
        };
        let reload = async {
            reloader.reload(&mut waypost, cause).await;
            if cause == Cause::Asked {
                waypost.reload_certificate().await;
            }
        };
        // Plugins are tried again meanwhile, which must not hold up the end. What is left off has changed nothing.
        tokio::select! {
            () = reload => {}
            name = signals.stop() => break End::Signal(name),
            reason = fence.raised() => break End::Fenced(reason),
        }
    };
    let deadline = reloader.settings().drain_deadline;
    match &end {
        End::Signal(name) => {
            tracing::info!(signal = name, deadline_ms = deadline.as_millis(), "draining");
        }
        End::Fenced(reason) => {
            tracing::error!(%reason, "a write to storage has failed, and nothing more is stored: draining");
        }
    }
    let drained = tokio::select! {
        drained = waypost.drain(deadline) => drained,
        name = signals.stop() => {
            tracing::warn!(signal = name, "a second signal ends the router at once");
            return Err(Failure::Told);
        }
    };
    if drained {
        tracing::info!("drained");
    } else {
        tracing::warn!("the deadline came before everything was drained");
    }
    match end {
        End::Fenced(reason) => Err(Failure::Storage(format!(
            "a write to storage has failed: {reason}; see to the disk, and start the router anew, which recovers \
             what was acknowledged"
        ))),
        End::Signal(_) if drained => Ok(()),
        End::Signal(_) => Err(Failure::Told),
    }
}

/// Why a router ends.
enum End {
    Signal(&'static str),
    /// A write to storage has failed.
    Fenced(String),
}

/// What a signal tells.
enum Told {
    /// To end, by this signal.
    Stop(&'static str),
    /// To read again what is in files.
    Reload,
}

/// SIGTERM and SIGINT, which end the router, and SIGHUP.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt, hangup: signal(SignalKind::hangup())? })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Leaves a SIGHUP for [`next`](Self::next).
    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
