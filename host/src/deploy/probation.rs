//! Watches new versions, and goes back to the one before when they fail more.

use std::sync::Arc;

use tokio::{
    task::JoinHandle,
    time::{Duration, Instant},
};
use waypost_core::{Counts, PluginName, RollbackPolicy};

use super::{Deployer, Via};

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
        let trials = deployer.trials(window);
        for (name, trial) in &trials {
            let now = deployer.counts_of(name).since(trial.at_swap);
            if policy.is_due(trial.before, now) {
                roll_back(&deployer, name, now).await;
            }
        }
        if trials.is_empty() {
            deployer.swapped.notified().await;
        } else {
            let _ = tokio::time::timeout(LOOK_INTERVAL, deployer.swapped.notified()).await;
        }
    }
}

async fn roll_back(deployer: &Deployer, name: &PluginName, counts: Counts) {
    let Counts { verdicts, failures } = counts;
    let all = verdicts.saturating_add(failures);
    let reason = format!("it failed on {failures} of the first {all} messages");
    match deployer.go_back(name, None, Via::AutomaticRollback, &reason).await {
        Ok(digest) => tracing::error!(
            plugin = %name, %digest, reason,
            "a new version fails more than the one before it, which runs again"
        ),
        Err(error) => {
            deployer.end_trial(name);
            tracing::error!(
                plugin = %name, %error, reason,
                "a new version fails more than the one before it, which cannot run again"
            );
        }
    }
}
