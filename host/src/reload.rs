//! Reloads the configuration of a running router: read and checked as a whole, then applied as a whole.
//!
//! A configuration that is wrong changes nothing. What can only change at a start is named and kept as it was;
//! the rest is applied.

use std::path::Path;

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::mpsc;

use crate::{
    config::{Changes, Loaded, Settings, Sources, conflicts, load, plugins_in, reloaded},
    server::Waypost,
    time::now_ms,
    watch::{LOOK_INTERVAL, Watcher},
};

/// What reloads count.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    /// Reloads by outcome, `applied` or `refused`.
    pub reloads: IntCounterVec,
    /// Whether the configuration as it was read last is sound.
    pub is_sound: IntGauge,
    /// When one was applied last.
    pub applied_at: IntGauge,
    /// Keys that wait for the next start.
    pub waiting_keys: IntGauge,
}

impl ReloadMetrics {
    /// Makes the series and registers them.
    ///
    /// # Errors
    ///
    /// A series of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            reloads: IntCounterVec::new(
                Opts::new("waypost_configuration_reloads_total", "Reloads by outcome"),
                &["outcome"],
            )?,
            is_sound: IntGauge::new(
                "waypost_configuration_last_reload_successful",
                "1 unless the configuration as it was read last was refused",
            )?,
            applied_at: IntGauge::new(
                "waypost_configuration_applied_timestamp_seconds",
                "When a configuration was applied last, since the Unix epoch",
            )?,
            waiting_keys: IntGauge::new(
                "waypost_configuration_restart_keys",
                "Keys of the configuration that differ from what runs until the next start",
            )?,
        };
        for outcome in ["applied", "refused"] {
            metrics.reloads.with_label_values(&[outcome]);
        }
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.is_sound.clone()))?;
        registry.register(Box::new(metrics.applied_at.clone()))?;
        registry.register(Box::new(metrics.waiting_keys.clone()))?;
        metrics.is_sound.set(1);
        metrics.now_applied();
        Ok(metrics)
    }

    fn now_applied(&self) {
        self.applied_at.set(i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX));
    }
}

/// Why a configuration is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An operator asked for it, and is told in any case what came of it.
    Asked,
    /// Perhaps the file has changed.
    Watched,
}

/// Knows where the configuration comes from and what runs of it.
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    started: Loaded,
    applied: Loaded,
    /// What of the last configuration waits for the next start.
    waiting: Vec<String>,
    /// What was said when a configuration was refused last; the same is not said again unless asked for.
    refused: Option<String>,
}

impl Reloader {
    /// For a router that was started with what these sources gave.
    #[must_use]
    pub fn new(sources: Sources, started: Loaded) -> Self {
        let applied = started.clone();
        Self { sources, started, applied, waiting: Vec::new(), refused: None }
    }

    /// The settings that hold.
    #[must_use]
    pub fn settings(&self) -> Settings {
        reloaded(&self.started.settings, self.applied.settings.clone())
    }

    /// Tells whenever the file may have changed, until what it gives is dropped. It gives nothing where there is
    /// no file, or where the file's folder cannot be watched.
    #[must_use]
    pub fn watch(&self, changed: mpsc::Sender<()>) -> Option<Watcher> {
        let folder = match self.sources.file.as_ref()?.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let look = move || {
            // Full means that a reload is due already.
            let _ = changed.try_send(());
            std::future::ready(())
        };
        Watcher::start(&[folder], LOOK_INTERVAL, look)
            .inspect_err(|error| {
                tracing::warn!(%error, "the configuration is not watched; send SIGHUP to reload it");
            })
            .ok()
    }

    /// Reads the configuration again from its file, under the same environment and flags, and applies it.
    /// What comes of it is logged and counted.
    pub async fn reload(&mut self, waypost: &mut Waypost, cause: Cause) {
        let sources = self.sources.clone();
        let read = tokio::task::spawn_blocking(move || load(&sources, plugins_in)).await;
        let problems = match read {
            Ok(Ok(next)) => match self.apply(waypost, next, cause).await {
                Ok(()) => return,
                Err(problems) => problems.lines().map(str::to_owned).collect(),
            },
            Ok(Err(errors)) => errors.to_string().lines().map(str::to_owned).collect(),
            Err(error) => vec![format!("it was not read, on the router's own account: {error}")],
        };
        self.refuse(waypost.reload_metrics(), problems, cause);
    }

    async fn apply(
        &mut self,
        waypost: &mut Waypost,
        next: Loaded,
        cause: Cause,
    ) -> Result<(), String> {
        let metrics = waypost.reload_metrics().clone();
        let Changes { live, restart } = Changes::between(&self.started, &self.applied, &next);
        if !live.is_empty() {
            let settings = reloaded(&self.started.settings, next.settings.clone());
            let conflicts = conflicts(&settings);
            if !conflicts.is_empty() {
                return Err(conflicts.join("\n"));
            }
            waypost.reload(settings).await.map_err(|error| error.to_string())?;
        }
        let is_news = !live.is_empty() || restart != self.waiting || self.refused.is_some();
        if is_news || cause == Cause::Asked {
            next.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            if !restart.is_empty() {
                tracing::warn!(
                    keys = restart.join(", "),
                    "these keys keep what they were until the router is started anew"
                );
            }
            let changed = if live.is_empty() { "none".to_owned() } else { live.join(", ") };
            tracing::info!(changed, "the configuration was reloaded");
            metrics.reloads.with_label_values(&["applied"]).inc();
            metrics.now_applied();
        }
        metrics.is_sound.set(1);
        metrics.waiting_keys.set(i64::try_from(restart.len()).unwrap_or(i64::MAX));
        (self.applied, self.waiting, self.refused) = (next, restart, None);
        Ok(())
    }

    fn refuse(&mut self, metrics: &ReloadMetrics, problems: Vec<String>, cause: Cause) {
        let text = problems.join("\n");
        if cause == Cause::Watched && self.refused.as_ref() == Some(&text) {
            return;
        }
        for problem in problems {
            tracing::error!("{problem}");
        }
        tracing::error!("the configuration was refused as a whole; what ran goes on");
        metrics.reloads.with_label_values(&["refused"]).inc();
        metrics.is_sound.set(0);
        self.refused = Some(text);
    }
}
