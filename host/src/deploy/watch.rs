//! Watches the plugin folder, and has it looked at after it changed.

use std::{path::Path, sync::Arc, time::Duration};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode,
    event::{AccessKind, AccessMode},
};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::Deployer;

/// Changes within this time are looked at together, so that a file is seldom read half written.
const QUIET: Duration = Duration::from_millis(200);

/// The folder is looked at this often although nothing seems to have changed: the system tells nothing of a
/// symbolic link that was turned to another folder, and little of files on a network.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// The folder cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error(
    "the plugin folder {folder} cannot be watched: {source}; create it, or set plugins.watch = false"
)]
pub struct WatchError {
    /// Which folder.
    pub folder: String,
    /// What happened.
    pub source: notify::Error,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    _debouncer: Debouncer<RecommendedWatcher, RecommendedCache>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Watches a folder on behalf of a deployer, on the current runtime.
    ///
    /// # Errors
    ///
    /// The folder does not exist, or the system has no watch left.
    pub fn start(folder: &Path, deployer: Arc<Deployer>) -> Result<Self, WatchError> {
        Self::start_with(folder, deployer, LOOK_INTERVAL)
    }

    pub(super) fn start_with(
        folder: &Path,
        deployer: Arc<Deployer>,
        look_interval: Duration,
    ) -> Result<Self, WatchError> {
        // One note that something changed is enough: whoever takes it looks at everything.
        let (changed, mut changes) = mpsc::channel::<()>(1);
        let failed = |source| WatchError { folder: folder.display().to_string(), source };
        let mut debouncer = new_debouncer(QUIET, None, move |result: DebounceEventResult| {
            let is_due = match result {
                Ok(events) => events.iter().any(|event| is_change(&event.kind)),
                Err(errors) => {
                    tracing::warn!(?errors, "watching the plugin folder met an error");
                    true
                }
            };
            if is_due {
                // Full means that a look is due already.
                let _ = changed.try_send(());
            }
        })
        .map_err(failed)?;
        // The folder, not the files: a file is often replaced by another of its name.
        debouncer.watch(folder, RecursiveMode::NonRecursive).map_err(failed)?;
        let task = tokio::spawn(async move {
            // The first look is due at once, for what changed since the files were loaded.
            let mut looks = interval(look_interval);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    change = changes.recv() => if change.is_none() {
                        return;
                    },
                    _ = looks.tick() => {}
                }
                deployer.rescan().await;
            }
        });
        Ok(Self { _debouncer: debouncer, task })
    }
}

/// Whether an event may mean other bytes. Our own reading is an event too, and must not lead to the next.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => *access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
