//! Has the plugin folder looked at after it changed.

use std::{path::Path, sync::Arc, time::Duration};

use super::Deployer;
use crate::watch::{self, LOOK_INTERVAL, Watcher};

/// The plugin folder cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("plugins: {0}; create the folder, or set plugins.watch = false")]
pub struct WatchError(#[from] watch::WatchError);

impl Deployer {
    /// Watches a folder on the current runtime, and deploys what changes in it.
    ///
    /// # Errors
    ///
    /// The folder does not exist, or the system has no watch left.
    pub fn watch(self: &Arc<Self>, folder: &Path) -> Result<Watcher, WatchError> {
        self.watch_with(folder, LOOK_INTERVAL)
    }

    pub(super) fn watch_with(
        self: &Arc<Self>,
        folder: &Path,
        look_interval: Duration,
    ) -> Result<Watcher, WatchError> {
        self.know_strangers();
        let deployer = self.clone();
        let look = move || {
            let deployer = deployer.clone();
            async move { deployer.rescan().await }
        };
        Ok(Watcher::start(&[folder], look_interval, look)?)
    }
}
