//! The messages of a lane that wait to be tried again, and those behind them.

use std::sync::Arc;

use tokio::time::{Duration, Instant};
use waypost_core::{
    Lineage, Parking, Place, RetryPolicy, RouteDefinition, RouteName, StageName, Traced,
};
use waypost_protocol::{Batch, Offset};
use waypost_storage::MessageId;

use super::{
    durable::{KeptParked, ParkedChange},
    metrics::RouterMetrics,
    stage::Stage,
};
use crate::time;

/// The parking's time begins with this, so that there are times before all others.
const BEGIN_MS: u64 = 1000;

/// A plugin may ask for no longer a wait.
const LONGEST_WAIT_MS: u64 = 86_400_000;

/// A message that waits, as a batch of its own.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) batch: Traced,
    pub(super) lineage: Lineage,
    /// What the route was when it began to wait.
    pub(super) under: Arc<RouteDefinition>,
    /// How often it was tried; not at all if it only waits behind another.
    pub(super) attempts: u32,
    /// When it was tried first.
    pub(super) first_failure_ms: Option<u64>,
    /// Why it is to be tried again.
    pub(super) error: String,
    /// What the store knows it by, if it is kept there.
    pub(super) id: Option<MessageId>,
}

/// A parked message that is being tried.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) place: Place,
    pub(super) attempts: u32,
    pub(super) first_failure_ms: Option<u64>,
    pub(super) id: Option<MessageId>,
}

/// The parked messages of one lane.
#[derive(Debug)]
pub(super) struct Waiting {
    route: RouteName,
    pub(super) policy: RetryPolicy,
    parking: Parking<Parked>,
    /// The stages that something was parked at; their places are their numbers, whatever the route becomes.
    stages: Vec<StageName>,
    /// The stages of the route.
    present: Vec<StageName>,
    /// Those of `stages` that the route has no more, in the order in which they are to be emptied.
    gone: Vec<StageName>,
    /// The parking's time is counted from here.
    origin: Instant,
    metrics: Arc<RouterMetrics>,
    /// What the gauge was told.
    told: usize,
    /// Why nothing may be parked, if so.
    closed: Option<&'static str>,
    /// Tells the store of everything, where the lane is that of a partition.
    kept: Option<KeptParked>,
}

impl Waiting {
    pub(super) fn new(route: RouteName, policy: RetryPolicy, metrics: Arc<RouterMetrics>) -> Self {
        let (parking, origin) = (Parking::default(), Instant::now());
        let (stages, present, gone) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            route,
            policy,
            parking,
            stages,
            present,
            gone,
            origin,
            metrics,
            told: 0,
            closed: None,
            kept: None,
        }
    }

    /// Lets the store keep what is parked from now on.
    pub(super) fn keep(&mut self, kept: KeptParked) {
        self.kept = Some(kept);
    }

    /// What the store is to be told of messages before `undone`.
    pub(super) fn take_changes(&mut self, undone: Option<Offset>) -> Vec<ParkedChange> {
        self.kept.as_mut().map(|kept| kept.take(undone)).unwrap_or_default()
    }

    /// Whether the store is to be told of something.
    pub(super) fn has_changes(&self) -> bool {
        self.kept.as_ref().is_some_and(KeptParked::has_changes)
    }

    /// Puts back what the store kept, in its order.
    pub(super) fn restore(&mut self, stage: &StageName, parked: Parked, due_ms: u64) {
        let number = self.number_of(stage);
        let key = parked.batch.batch().get(0);
        let key = key.and_then(|message| message.key().map(<[u8]>::to_vec));
        let bytes = parked.batch.batch().byte_len();
        match key {
            Some(key) if self.parking.holds(number, Some(&key)) => {
                self.parking.follow(number, &key, parked, bytes);
            }
            key => {
                // A clock that was set back must not hold it for longer than a plugin may ask for.
                let wait = due_ms.saturating_sub(time::now_ms()).min(LONGEST_WAIT_MS);
                let due =
                    self.rank_of(number).unwrap_or_else(|| self.now_ms().saturating_add(wait));
                self.parking.park(number, key.as_deref(), parked, bytes, due);
            }
        }
        self.tell();
    }

    /// Parks a message that was given up on before, due at once or behind those with its key.
    pub(super) fn take_back(
        &mut self,
        stage: &StageName,
        batch: Traced,
        lineage: Lineage,
        under: &Arc<RouteDefinition>,
    ) {
        let mut parked = Parked {
            batch,
            lineage,
            under: under.clone(),
            attempts: 0,
            first_failure_ms: None,
            error: String::new(),
            id: None,
        };
        let (position, now_ms) = (self.position_of(stage), time::now_ms());
        if let Some(kept) = &mut self.kept {
            kept.park(&mut parked, stage, position, now_ms);
        }
        self.restore(stage, parked, now_ms);
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.parking.len()
    }

    /// Whether the lane may take nothing new.
    pub(super) fn is_full(&self) -> bool {
        self.parking.is_full(&self.policy)
    }

    /// Why nothing may be parked at all, if so.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if self.closed.is_some() {
            self.closed
        } else if self.kept.is_some() {
            // No lane waits for this one, so that nothing comes once it is full.
            None
        } else if self.parking.is_over(&self.policy) {
            Some("no more messages may wait")
        } else {
            None
        }
    }

    /// From now on nothing is parked, for this reason.
    pub(super) fn close(&mut self, why: &'static str) {
        self.closed = Some(why);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.parking
            .next_due_ms()
            .map(|ms| self.origin + Duration::from_millis(ms.saturating_sub(BEGIN_MS)))
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

    /// Takes note of the stages that the route has now. What is parked at one that it has no more is due at once
    /// and before the rest, so that nothing overtakes it; what was parked nearer to the end came before.
    pub(super) fn set_stages(&mut self, stages: &[Stage]) {
        let next: Vec<_> = stages.iter().map(|stage| stage.name.clone()).collect();
        let before = std::mem::replace(&mut self.present, next);
        let left = before.into_iter().rev().filter(|name| self.stages.contains(name));
        self.gone.extend(left);
        self.gone.retain(|name| !self.present.contains(name));
        for number in 0..self.stages.len() {
            if let Some(rank) = self.rank_of(number) {
                self.parking.hasten(number, rank);
            }
        }
    }

    /// When what is parked at a stage is due that the route has no more.
    fn rank_of(&self, stage: usize) -> Option<u64> {
        let name = self.stages.get(stage)?;
        let rank = self.gone.iter().position(|gone| gone == name)?;
        Some(u64::try_from(rank).unwrap_or(u64::MAX).min(BEGIN_MS - 1))
    }

    /// Whether something is parked at a stage that the route has no more.
    pub(super) fn is_hasty(&self) -> bool {
        self.parking.next_due_ms().is_some_and(|due| due < BEGIN_MS)
    }

    /// Whether something is parked that would be overtaken if the route had these stages.
    pub(super) fn waits_at_other_than(&self, stages: &[Stage]) -> bool {
        self.stages.iter().enumerate().any(|(number, name)| {
            !stages.iter().any(|stage| stage.name == *name) && self.parking.waits_at(number)
        })
    }

    /// Where a stage stands in the route.
    fn position_of(&self, stage: &StageName) -> usize {
        let position = self.present.iter().position(|present| present == stage);
        position.unwrap_or(self.present.len())
    }

    fn number_of(&mut self, stage: &StageName) -> usize {
        self.stages.iter().position(|known| known == stage).unwrap_or_else(|| {
            self.stages.push(stage.clone());
            if !self.present.contains(stage) {
                self.gone.push(stage.clone());
            }
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
        mut parked: Parked,
        asked_ms: u64,
    ) {
        let wait = self.policy.delay_ms(parked.attempts, asked_ms, rand::random());
        let number = self.number_of(stage);
        let due = self.rank_of(number).unwrap_or_else(|| self.now_ms().saturating_add(wait));
        let bytes = parked.batch.batch().byte_len();
        let position = self.position_of(stage);
        if let Some(kept) = &mut self.kept {
            kept.park(&mut parked, stage, position, time::now_ms().saturating_add(wait));
        }
        match trial {
            Some(place) => self.parking.park_first(place, parked, bytes, due),
            None => {
                let key = parked.batch.batch().get(0);
                let key = key.and_then(|message| message.key().map(<[u8]>::to_vec));
                self.parking.park(number, key.as_deref(), parked, bytes, due);
            }
        }
        self.tell();
    }

    /// Lets messages of a batch wait behind those with their keys.
    pub(super) fn follow(
        &mut self,
        stage: &StageName,
        batch: &Traced,
        indices: &[u32],
        lineage: Lineage,
        under: &Arc<RouteDefinition>,
    ) {
        let (number, position) = (self.number_of(stage), self.position_of(stage));
        for &index in indices {
            let key = batch.batch().get(index as usize).and_then(|message| message.key());
            let (Some(key), Some(alone)) = (key, batch.gather(&[index])) else {
                continue;
            };
            let bytes = alone.batch().byte_len();
            let mut parked = Parked {
                batch: alone,
                lineage,
                under: under.clone(),
                attempts: 0,
                first_failure_ms: None,
                error: String::new(),
                id: None,
            };
            if let Some(kept) = &mut self.kept {
                kept.park(&mut parked, stage, position, 0);
            }
            self.parking.follow(number, key, parked, bytes);
        }
        self.tell();
    }

    /// What was tried has gone on, or ended.
    pub(super) fn settled(&mut self, place: Place, id: Option<MessageId>) {
        if let Some((kept, id)) = self.kept.as_mut().zip(id) {
            kept.unpark(id);
        }
        let due = self.rank_of(place.stage()).unwrap_or_else(|| self.now_ms());
        self.parking.settled(place, due);
    }

    /// Everything that waits, with its stage.
    pub(super) fn drain(&mut self) -> Vec<(Option<StageName>, Parked)> {
        let drained = self.parking.drain();
        self.tell();
        let named = |(stage, parked): (usize, _)| (self.stages.get(stage).cloned(), parked);
        drained.into_iter().map(named).collect()
    }

    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        BEGIN_MS.saturating_add(elapsed)
    }

    fn tell(&mut self) {
        let now = self.parking.len();
        let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let gauge = self.metrics.parked.with_label_values(&[self.route.as_str()]);
        gauge.add(signed(now) - signed(self.told));
        self.told = now;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What stays in the store waits for another lane.
        let gauge = self.metrics.parked.with_label_values(&[self.route.as_str()]);
        gauge.sub(i64::try_from(self.told).unwrap_or(i64::MAX));
    }
}
