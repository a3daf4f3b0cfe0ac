//! Watches folders, and has what is in them looked at after it changed.

use std::{
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

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

/// Changes within this time are looked at together, so that a file is seldom read half written.
const QUIET: Duration = Duration::from_millis(200);

/// Folders are looked at this often although nothing seems to have changed: the system tells nothing of a
/// symbolic link that was turned to another folder, and little of files on a network.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// A folder cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("the folder {folder} cannot be watched: {source}", folder = folder.display())]
pub struct WatchError {
    /// Which folder.
    pub folder: PathBuf,
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
    /// Has `look` called at once, whenever something changes in these folders, and every `look_interval`,
    /// on the current runtime. A look is never called while the last one lasts.
    ///
    /// # Errors
    ///
    /// A folder does not exist, or the system has no watch left.
    pub(crate) fn start<L, F>(
        folders: &[&Path],
        look_interval: Duration,
        mut look: L,
    ) -> Result<Self, WatchError>
    where
        L: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        // One note that something changed is enough: whoever takes it looks at everything.
        let (changed, mut changes) = mpsc::channel::<()>(1);
        let failed = |folder: &Path| {
            let folder = folder.to_owned();
            |source| WatchError { folder, source }
        };
        let mut debouncer = new_debouncer(QUIET, None, move |result: DebounceEventResult| {
            let is_due = match result {
                Ok(events) => events.iter().any(|event| is_change(&event.kind)),
                Err(errors) => {
                    tracing::warn!(?errors, "watching a folder met an error");
                    true
                }
            };
            if is_due {
                // Full means that a look is due already.
                let _ = changed.try_send(());
            }
        })
        .map_err(failed(folders.first().copied().unwrap_or(Path::new(""))))?;
        for folder in folders {
            // The folder, not the files: a file is often replaced by another of its name.
            debouncer.watch(folder, RecursiveMode::NonRecursive).map_err(failed(folder))?;
        }
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
                look().await;
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
