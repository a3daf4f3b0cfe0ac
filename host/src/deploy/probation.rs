//! Watches new versions, and goes back to the one before when they fail more.

use std::sync::Arc;

use tokio::{
    task::JoinHandle,
    time::{Duration, Instant},
};
use waypost_core::{Counts, PluginName, RollbackPolicy};

use super::Deployer;
use crate::wasm::Digest;

/// How often a new version's counts are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Probation {
    task: JoinHandle<()>,
}

/// A version since it was swapped in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    /// What was counted when it was swapped in.
    pub(super) at_swap: Counts,
    /// What the version before it did.
    pub(super) before: Counts,
    pub(super) since: Instant,
    /// It is news, and not a version that was gone back to.
    pub(super) is_new: bool,
}

/// A version on trial, as it stands at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnTrial {
    pub(super) plugin: PluginName,
    pub(super) digest: Digest,
    /// What the version before it did.
    pub(super) before: Counts,
    /// What it did since it was swapped in.
    pub(super) now: Counts,
}

impl Trial {
    /// A version that is not on trial, with nothing known of one before it.
    pub(super) fn begin(at_swap: Counts) -> Self {
        Self { at_swap, before: Counts::default(), since: Instant::now(), is_new: false }
    }
}

impl Probation {
    /// Watches a deployer's new versions, on the current runtime.
    #[must_use]
    pub fn start(deployer: Arc<Deployer>, policy: RollbackPolicy) -> Self {
        Self { task: tokio::spawn(watch(deployer, policy)) }
    }
}

impl Drop for Probation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(deployer: Arc<Deployer>, policy: RollbackPolicy) {
    let window = Duration::from_millis(policy.window_ms.into());
    loop {
        let on_trial = deployer.on_trial(window);
        for version in &on_trial {
            if policy.is_due(version.before, version.now) {
                roll_back(&deployer, version).await;
            }
        }
        if on_trial.is_empty() {
            deployer.swapped.notified().await;
        } else {
            let _ = tokio::time::timeout(LOOK_INTERVAL, deployer.swapped.notified()).await;
        }
    }
}

async fn roll_back(deployer: &Deployer, version: &OnTrial) {
    let OnTrial { plugin, digest: judged, now: Counts { verdicts, failures }, .. } = version;
    let all = verdicts.saturating_add(*failures);
    let reason = format!("it failed on {failures} of the first {all} messages");
    match deployer.withdraw(plugin, *judged, &reason).await {
        Ok(Some(digest)) => tracing::error!(
            %plugin, %digest, reason,
            "a new version fails more than the one before it, which runs again"
        ),
        Ok(None) => tracing::warn!(
            %plugin, digest = %judged, reason,
            "a new version failed more than the one before it; another runs by now, and stays"
        ),
        Err(error) => tracing::error!(
            %plugin, %error, reason,
            "a new version fails more than the one before it, which cannot run again"
        ),
    }
}
