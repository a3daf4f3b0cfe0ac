//! `waypost run`: a router from its configuration to its drain.

use anyhow::Context as _;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{Failure, config::ConfigOptions, connection::init_log};
use crate::{config::Settings, server::Waypost};

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
    let settings = options.config.load()?.settings;
    init_log("info")?;
    let runtime = runtime(&settings).context("the async runtime does not start")?;
    if options.check {
        return runtime.block_on(check(settings));
    }
    runtime.block_on(route(settings))
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

/// Starts everything on addresses of its own, so that a router that runs is not in the way.
async fn check(mut settings: Settings) -> Result<(), Failure> {
    settings.net.address.set_port(0);
    settings.admin = None;
    settings.plugins.watch = false;
    let folder = std::env::temp_dir().join(format!("waypost-check-{}", std::process::id()));
    settings.state_folder.clone_from(&folder);
    settings.net.state_folder.clone_from(&folder);
    let started = Waypost::start(settings).await;
    let drained = match started {
        Ok(waypost) => Ok(waypost.drain(std::time::Duration::from_secs(1)).await),
        Err(error) => Err(error),
    };
    // What was made for the check alone; a leftover in the temporary folder does no harm.
    let _ = std::fs::remove_dir_all(&folder);
    drained?;
    eprintln!("the configuration is good and every plugin runs");
    Ok(())
}

async fn route(settings: Settings) -> Result<(), Failure> {
    let deadline = settings.drain_deadline;
    // Before anything else, so that no signal finds the default that kills.
    let mut signals = Signals::listen().context("signals cannot be awaited")?;
    let started = tokio::select! {
        started = Waypost::start(settings) => started,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before it was ready");
            return Ok(());
        }
    };
    let waypost = started?;
    let endpoints = waypost.endpoints();
    tracing::info!(listen = %endpoints.listen, "the router is ready");
    if let Some(admin) = endpoints.admin {
        tracing::info!(%admin, "metrics and health are served");
    }
    if let Some(ca) = &endpoints.ca {
        tracing::info!(ca = %ca.display(), "clients trust the development certificate by --ca");
    }

    let name = signals.next().await;
    tracing::info!(signal = name, deadline_ms = deadline.as_millis(), "draining");
    let drained = tokio::select! {
        drained = waypost.drain(deadline) => drained,
        name = signals.next() => {
            tracing::warn!(signal = name, "a second signal ends the router at once");
            return Err(Failure::Told);
        }
    };
    if drained {
        tracing::info!("drained");
        return Ok(());
    }
    tracing::warn!("the deadline came before everything was drained");
    Err(Failure::Told)
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
