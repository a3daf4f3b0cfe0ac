//! The breaker of one stage, shared by the lanes of its route.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};
use waypost_core::{
    Admission, Breaker, BreakerPolicy, BreakerState, Report, Reports, RouteName, StageName,
};

use super::{metrics::RouterMetrics, stage::StageVersion};

/// How many failures of a stage are told in a second.
const TOLD_PER_SECOND: u32 = 10;

/// Lets calls into a stage go, or holds them.
#[derive(Debug)]
pub(super) struct Gate {
    route: RouteName,
    stage: StageName,
    policy: BreakerPolicy,
    /// The breaker's time is counted from here.
    origin: Instant,
    state: Mutex<State>,
    metrics: Arc<RouterMetrics>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    /// The version that its failures are of.
    version: Option<Arc<dyn StageVersion>>,
    /// Which failures are told.
    reports: Reports,
    /// No plan has it any more, and no metric shows it.
    is_retired: bool,
}

impl Gate {
    pub(super) fn new(
        route: RouteName,
        stage: StageName,
        policy: BreakerPolicy,
        metrics: Arc<RouterMetrics>,
    ) -> Self {
        let reports = Reports::new(TOLD_PER_SECOND);
        let breaker = Breaker::new(policy);
        let state = Mutex::new(State { breaker, version: None, reports, is_retired: false });
        Self { route, stage, policy, origin: Instant::now(), state, metrics }
    }

    /// How many calls may fail on one batch.
    pub(super) fn failed_calls(&self) -> u32 {
        self.policy.failed_calls
    }

    /// Whether a call of this version may go; otherwise when to ask again. What another version did is
    /// forgotten.
    pub(super) fn admit(&self, version: &Arc<dyn StageVersion>) -> Result<(), Instant> {
        let mut state = self.state();
        if state.version.as_ref().is_some_and(|known| !Arc::ptr_eq(known, version)) {
            let was_open = state.breaker.state() != BreakerState::Closed;
            (state.breaker, state.version) = (Breaker::new(self.policy), None);
            if was_open && !state.is_retired {
                self.tell_closed("another version runs, the breaker is closed");
            }
        }
        match state.breaker.admit(self.now_ms()) {
            Admission::Go => Ok(()),
            Admission::WaitUntil(ms) => Err(self.origin + Duration::from_millis(ms)),
        }
    }

    /// The stage has gone, or has another breaker; whoever waits here looks for it.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        state.is_retired = true;
        let labels = [self.route.as_str(), self.stage.as_str()];
        self.metrics.breaker_open.with_label_values(&labels).set(0);
    }

    /// A call of this version succeeded, which says nothing of another that failed.
    pub(super) fn succeeded(&self, version: &Arc<dyn StageVersion>) {
        let mut state = self.state();
        if state.reports.has_untold()
            && let Some(untold) = state.reports.poll_untold(self.now_ms())
        {
            let (route, stage) = (&self.route, &self.stage);
            tracing::warn!(%route, %stage, untold, "further failures of the plugin were not told");
        }
        if state.version.as_ref().is_some_and(|known| !Arc::ptr_eq(known, version)) {
            return;
        }
        state.version = None;
        if state.breaker.succeeded() && !state.is_retired {
            self.tell_closed("the plugin works again, the breaker is closed");
        }
    }

    /// Whether a failure is told: so many are in a second, and the next one says how many were not.
    pub(super) fn report(&self) -> Report {
        self.state().reports.handle(self.now_ms())
    }

    /// A message was found that this version fails on.
    pub(super) fn failed(&self, version: &Arc<dyn StageVersion>) -> bool {
        self.count(version, Breaker::failed)
    }

    /// This version failed too often, or does not start.
    pub(super) fn trip(&self, version: &Arc<dyn StageVersion>) -> bool {
        self.count(version, Breaker::trip)
    }

    fn count(
        &self,
        version: &Arc<dyn StageVersion>,
        count: impl Fn(&mut Breaker, u64) -> bool,
    ) -> bool {
        let mut state = self.state();
        state.version = Some(version.clone());
        let opened = count(&mut state.breaker, self.now_ms());
        if opened && !state.is_retired {
            let labels = [self.route.as_str(), self.stage.as_str()];
            self.metrics.breaker_opened.with_label_values(&labels).inc();
            self.metrics.breaker_open.with_label_values(&labels).set(1);
            let (route, stage, run) = (&self.route, &self.stage, version.run());
            tracing::error!(
                %route, %stage, plugin = run.plugin, version = run.version,
                "the plugin fails again and again: its messages wait; deploy a version that works"
            );
        }
        opened
    }

    fn tell_closed(&self, text: &str) {
        let labels = [self.route.as_str(), self.stage.as_str()];
        self.metrics.breaker_open.with_label_values(&labels).set(0);
        tracing::info!(route = %self.route, stage = %self.stage, "{text}");
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
