//! The messages of a lane that wait to be tried again, and those behind them.

use std::sync::Arc;

use tokio::time::{Duration, Instant};
use waypost_core::{Lineage, Parking, Place, RetryPolicy, RouteDefinition, RouteName, StageName};
use waypost_protocol::Batch;

use super::{metrics::RouterMetrics, stage::Stage};

/// A message that waits, as a batch of its own.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) batch: Batch,
    pub(super) lineage: Lineage,
    /// What the route was when it began to wait.
    pub(super) under: Arc<RouteDefinition>,
    /// How often it was tried; not at all if it only waits behind another.
    pub(super) attempts: u32,
    /// When it was tried first.
    pub(super) first_failure_ms: Option<u64>,
    /// Why it is to be tried again.
    pub(super) error: String,
}

/// A parked message that is being tried.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) place: Place,
    pub(super) attempts: u32,
    pub(super) first_failure_ms: Option<u64>,
}

/// The parked messages of one lane.
#[derive(Debug)]
pub(super) struct Waiting {
    route: RouteName,
    pub(super) policy: RetryPolicy,
    parking: Parking<Parked>,
    /// The stages that something was parked at; their places are their numbers, whatever the route becomes.
    stages: Vec<StageName>,
    /// The parking's time is counted from here.
    origin: Instant,
    metrics: Arc<RouterMetrics>,
    /// What the gauge was told.
    told: usize,
    /// The router stops.
    is_closed: bool,
}

impl Waiting {
    pub(super) fn new(route: RouteName, policy: RetryPolicy, metrics: Arc<RouterMetrics>) -> Self {
        let (parking, stages, origin) = (Parking::default(), Vec::new(), Instant::now());
        Self { route, policy, parking, stages, origin, metrics, told: 0, is_closed: false }
    }

    /// Whether the lane may take nothing new.
    pub(super) fn is_full(&self) -> bool {
        self.parking.is_full(&self.policy)
    }

    /// Why nothing may be parked at all, if so.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if self.is_closed {
            Some("the router is stopping")
        } else if self.parking.is_over(&self.policy) {
            Some("no more messages may wait")
        } else {
            None
        }
    }

    /// From now on nothing is parked.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.parking.next_due_ms().map(|ms| self.origin + Duration::from_millis(ms))
    }

    /// A message whose time has come.
    pub(super) fn take_due(&mut self) -> Option<(Place, Parked)> {
        let taken = self.parking.take_due(self.now_ms());
        self.tell();
        taken
    }

    /// The stage of a place.
    pub(super) fn stage_of(&self, place: &Place) -> Option<&StageName> {
        self.stages.get(place.stage())
    }

    /// Lets what is parked at stages that the route has no more be due at once, so that nothing overtakes it.
    pub(super) fn hasten_other_than(&mut self, stages: &[Stage]) {
        for (number, name) in self.stages.iter().enumerate() {
            if !stages.iter().any(|stage| stage.name == *name) {
                self.parking.hasten(number);
            }
        }
    }

    /// Whether something is due before all that came.
    pub(super) fn is_hasty(&self) -> bool {
        self.parking.next_due_ms() == Some(0)
    }

    fn number_of(&mut self, stage: &StageName) -> usize {
        self.stages.iter().position(|known| known == stage).unwrap_or_else(|| {
            self.stages.push(stage.clone());
            self.stages.len() - 1
        })
    }

    /// The messages of a batch that must wait at a stage, by their index.
    pub(super) fn following(&self, stage: &StageName, batch: &Batch) -> Vec<u32> {
        if self.parking.is_empty() {
            return Vec::new();
        }
        let Some(stage) = self.stages.iter().position(|known| known == stage) else {
            return Vec::new();
        };
        let messages = (0_u32..).zip(batch.iter());
        let held = messages.filter(|(_, message)| self.parking.holds(stage, message.key()));
        held.map(|(index, _)| index).collect()
    }

    /// Parks a message that was tried, to be tried again after at least `asked_ms`.
    pub(super) fn park(
        &mut self,
        stage: &StageName,
        trial: Option<Place>,
        parked: Parked,
        asked_ms: u64,
    ) {
        let wait = self.policy.delay_ms(parked.attempts, asked_ms, rand::random());
        let due = self.now_ms().saturating_add(wait);
        let bytes = parked.batch.byte_len();
        match trial {
            Some(place) => self.parking.park_first(place, parked, bytes, due),
            None => {
                let key = parked.batch.get(0).and_then(|message| message.key().map(<[u8]>::to_vec));
                let stage = self.number_of(stage);
                self.parking.park(stage, key.as_deref(), parked, bytes, due);
            }
        }
        self.tell();
    }

    /// Lets messages of a batch wait behind those with their keys.
    pub(super) fn follow(
        &mut self,
        stage: &StageName,
        batch: &Batch,
        indices: &[u32],
        lineage: Lineage,
        under: &Arc<RouteDefinition>,
    ) {
        let stage = self.number_of(stage);
        for &index in indices {
            let key = batch.get(index as usize).and_then(|message| message.key());
            let (Some(key), Some(alone)) = (key, batch.gather(&[index])) else {
                continue;
            };
            let bytes = alone.byte_len();
            let parked = Parked {
                batch: alone,
                lineage,
                under: under.clone(),
                attempts: 0,
                first_failure_ms: None,
                error: String::new(),
            };
            self.parking.follow(stage, key, parked, bytes);
        }
        self.tell();
    }

    /// What was tried has gone on, or ended.
    pub(super) fn settled(&mut self, place: Place) {
        let now = self.now_ms();
        self.parking.settled(place, now);
    }

    /// Everything that waits, with its stage.
    pub(super) fn drain(&mut self) -> Vec<(Option<StageName>, Parked)> {
        let drained = self.parking.drain();
        self.tell();
        let named = |(stage, parked): (usize, _)| (self.stages.get(stage).cloned(), parked);
        drained.into_iter().map(named).collect()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn tell(&mut self) {
        let now = self.parking.len();
        let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let gauge = self.metrics.parked.with_label_values(&[self.route.as_str()]);
        gauge.add(signed(now) - signed(self.told));
        self.told = now;
    }
}
