//! What a deployer knows of each plugin: its history, what was refused, how the new version does.

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
};

use tokio::time::Duration;
use waypost_core::{PluginName, RouteName, StageDefinition};

use super::{
    DeployError, Deployer, History, KeptVersion, PluginStatus, Refusal, Via,
    deployer::Accepted,
    prepare::{Plugin, Prepared},
    probation::{OnTrial, Trial},
    store::Histories,
};
use crate::{
    router::StageStatus,
    time::now_ms,
    wasm::{Digest, Manifest},
};

/// How often an artefact is tried that was refused for a reason that may pass.
const PASSING_ATTEMPTS: u32 = 3;

/// What is known of a plugin's artefacts.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) history: History,
    pub(super) manifest: Option<Manifest>,
    /// The versions that ran before, so that a rollback to them takes no time.
    pub(super) before: Option<Prepared>,
    pub(super) running: Option<Prepared>,
    pub(super) trial: Option<Trial>,
    pub(super) deploys: u64,
    pub(super) refused: Option<RefusedArtefact>,
}

/// A plugin's file as it was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// `None` when it could not be read.
    pub(super) digest: Option<Digest>,
    /// The digest of its signature, if it has one.
    pub(super) signature: Option<Digest>,
}

impl Seen {
    pub(super) fn of(digest: Option<Digest>, signature: Option<&str>) -> Self {
        Self { digest, signature: signature.map(|text| Digest::of(text.as_bytes())) }
    }
}

/// What is known of the artefact that was refused last.
#[derive(Debug)]
pub(super) struct RefusedArtefact {
    seen: Seen,
    refusal: Refusal,
    /// How often it may be tried again.
    attempts_left: u32,
}

impl Deployer {
    /// Whether a file's bytes are to be tried: they are not those that run, nor those that the folder held
    /// when it was looked at last. When they are those that run, an earlier refusal is over.
    pub(super) fn is_news(&self, name: &PluginName, seen: Seen) -> bool {
        let digest = seen.digest;
        let mut states = self.state();
        let Some(known) = states.get_mut(name) else {
            return true;
        };
        if digest.is_some() && known.history.active == digest {
            known.refused = None;
            known.history.observed = digest;
            return false;
        }
        match &known.refused {
            Some(refused) if refused.seen == seen => refused.attempts_left > 0,
            // The same artefact under another signature.
            Some(refused) if refused.seen.digest == digest => true,
            _ => digest.is_none() || known.history.observed != digest,
        }
    }

    /// The new versions that were swapped in within this time.
    pub(super) fn on_trial(&self, window: Duration) -> Vec<OnTrial> {
        let states = self.state();
        let on_trial = states.iter().filter_map(|(name, state)| {
            let (trial, running) = (state.trial?, state.running.as_ref()?);
            let is_on_trial = trial.is_new && trial.since.elapsed() < window;
            is_on_trial.then(|| OnTrial {
                plugin: name.clone(),
                digest: running.digest,
                before: trial.before,
                now: running.counts().since(trial.at_swap),
            })
        });
        on_trial.collect()
    }

    /// The version that a plugin runs is not on trial any more.
    pub(super) fn end_trial(&self, name: &PluginName) {
        if let Some(trial) = self.state().get_mut(name).and_then(|state| state.trial.as_mut()) {
            trial.is_new = false;
        }
    }

    pub(super) fn active(&self, name: &PluginName) -> Option<Digest> {
        self.state().get(name).and_then(|state| state.history.active)
    }

    /// Writes down, in one step, that versions run.
    pub(super) fn record(&self, accepted: &[Accepted<'_>]) -> Result<(), DeployError> {
        let mut states = self.state();
        let all = states.iter().map(|(name, state)| (name.clone(), state.history.clone()));
        let mut histories: Histories = all.collect();
        for &Accepted { plugin, prepared, via, leaves_because } in accepted {
            let history = histories.entry(plugin.clone()).or_default();
            let Some(via) = via else { continue };
            if let Some(reason) = leaves_because {
                history.mark_rolled_back(reason);
            }
            let version = prepared.manifest.version.clone();
            let (digest, since_ms) = (prepared.digest, now_ms());
            let kept = KeptVersion { digest, version, since_ms, via, rolled_back: None };
            *history = std::mem::take(history).accepted(kept, self.store.keep());
            if via == Via::Folder {
                history.observed = Some(digest);
            }
        }
        self.store.save(&histories)?;
        for (name, history) in histories {
            states.entry(name).or_default().history = history;
        }
        Ok(())
    }

    pub(super) fn refuse(&self, name: &PluginName, seen: Seen, via: Via, error: &DeployError) {
        let digest = seen.digest;
        self.metrics.deploys.with_label_values(&[name.as_str(), "refused"]).inc();
        self.metrics.refusals.with_label_values(&[name.as_str(), error.kind()]).inc();
        let refusal = Refusal {
            digest: digest.map(|digest| digest.to_string()),
            error: error.to_string(),
            at_ms: now_ms(),
        };
        let mut states = self.state();
        let known = states.entry(name.clone()).or_default();
        let attempts_left = match &known.refused {
            _ if !error.is_passing() || via != Via::Folder => 0,
            Some(last) if last.seen == seen => last.attempts_left.saturating_sub(1),
            _ => PASSING_ATTEMPTS - 1,
        };
        // After a restart another configuration may hold, for which the file is news again.
        if via == Via::Folder && digest.is_some() && !error.is_by_configuration() {
            known.history.observed = digest;
        }
        known.refused = Some(RefusedArtefact { seen, refusal, attempts_left });
    }

    /// Every plugin that the configuration names, by name.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        let states = self.state();
        let stage = |(route, stage): &(RouteName, StageDefinition)| {
            StageStatus::of(route, &stage.name, &self.router_metrics)
        };
        let status = |(name, plugin): (&PluginName, &Plugin)| {
            let state = states.get(name)?;
            let (manifest, digest) = (state.manifest.as_ref()?, state.history.active?);
            let kept = state.history.versions.iter().find(|kept| kept.digest == digest);
            Some(PluginStatus {
                name: name.as_str().to_owned(),
                file: plugin.file.display().to_string(),
                digest: digest.to_string(),
                manifest_name: manifest.name.clone(),
                version: manifest.version.clone(),
                role: manifest.role.to_owned(),
                deterministic: manifest.deterministic,
                imports: manifest.imports.iter().map(ToString::to_string).collect(),
                stages: plugin.stages.iter().map(stage).collect(),
                since_ms: kept.map_or(0, |kept| kept.since_ms),
                deploys: state.deploys,
                versions: state.history.versions.clone(),
                refused: state.refused.as_ref().map(|refused| refused.refusal.clone()),
            })
        };
        self.plugins().iter().filter_map(status).collect()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, BTreeMap<PluginName, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
