//! The fence: raised once, by the first write that fails; never taken down in this process.

use std::sync::Arc;

use tokio::sync::watch;

/// Whether storage was fenced, and why. Clones look at the same fence.
#[derive(Debug, Clone)]
pub struct Fence {
    reason: Arc<watch::Sender<Option<String>>>,
}

impl Default for Fence {
    fn default() -> Self {
        Self { reason: Arc::new(watch::Sender::new(None)) }
    }
}

impl Fence {
    /// Raises it. The first reason stays.
    pub fn raise(&self, reason: &str) {
        self.reason.send_if_modified(|stored| {
            let first = stored.is_none();
            stored.get_or_insert_with(|| reason.to_owned());
            first
        });
    }

    /// Why it is up; `None` while it is down.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    /// Waits until it is raised. The host then lets reads drain and ends the process with code 75.
    pub async fn raised(&self) -> String {
        let mut reason = self.reason.subscribe();
        // The sender lives in this value, so the wait ends only with a reason.
        let raised = reason.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        raised.unwrap_or_default()
    }
}
