//! The stages of all routes as they run at this moment.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::stage::Stage;

/// The stages of all routes. A lane looks once for each batch, so that one version of each stage
/// processes it, and a swap of several stages is one step.
#[derive(Debug, Default)]
pub struct StageSet {
    routes: ArcSwap<HashMap<String, Arc<[Stage]>>>,
    changed: watch::Sender<()>,
}

impl StageSet {
    /// The stages of one route, in order.
    #[must_use]
    pub fn of(&self, route: &str) -> Arc<[Stage]> {
        self.routes.load().get(route).cloned().unwrap_or_default()
    }

    /// Replaces the stages of all routes at once.
    pub fn replace(&self, routes: HashMap<String, Arc<[Stage]>>) {
        self.routes.store(Arc::new(routes));
        self.changed.send_replace(());
    }

    /// The stages of all routes.
    #[must_use]
    pub fn all(&self) -> Arc<HashMap<String, Arc<[Stage]>>> {
        self.routes.load_full()
    }

    /// Tells of every replacement from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
