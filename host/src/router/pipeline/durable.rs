//! What a lane hands over to be committed, where what leaves it is collected.

use std::sync::Arc;

use waypost_core::{Failed, Lineage, MAX_HOPS, RouteDefinition, StageName, Traced};
use waypost_protocol::{ErrorCode, Offset, Pattern};

use super::{
    super::{
        durable::{KeptParked, Leaving, Returning},
        outlet::{End, History, Job},
        parked::Parked,
    },
    Pipeline, Work,
};

impl Work {
    /// The first message of which something is to be done.
    fn first_undone(&self) -> Option<Offset> {
        let first = u32::try_from(self.isolation.rest().start).ok()?;
        self.batch.trace(first).map(|trace| trace.offset)
    }
}

impl Pipeline {
    /// Lets the store keep what is parked, and puts back what it kept.
    pub(in crate::router) fn restore(
        &mut self,
        kept: KeptParked,
        restored: impl FnOnce(&Arc<RouteDefinition>) -> Vec<(StageName, Parked, u64)>,
    ) {
        self.look();
        self.waiting.keep(kept);
        for (stage, parked, due_ms) in restored(&self.plan.definition) {
            self.waiting.restore(&stage, parked, due_ms);
        }
    }

    /// Which topics the route takes.
    pub(in crate::router) fn source(&self) -> &Pattern {
        &self.plan.definition.source
    }

    /// How many messages are parked.
    pub(in crate::router) fn parked(&self) -> usize {
        self.waiting.len()
    }

    /// Everything before this offset has been read.
    pub(in crate::router) fn read_to(&mut self, end: Offset) {
        if let Some(collecting) = self.outlet.collected() {
            collecting.progress().read_to(end);
        }
    }

    /// Whether something came of what was read that is not handed over.
    pub(in crate::router) fn has_effects(&mut self) -> bool {
        let has_changes = self.waiting.has_changes();
        self.outlet.collected().is_some_and(|it| has_changes || it.has_outputs())
    }

    /// Whether something was read that is not handed over.
    pub(in crate::router) fn is_ahead(&mut self) -> bool {
        self.outlet.collected().is_some_and(|collecting| collecting.progress().is_ahead())
    }

    /// Hands over what comes of messages before `undone`, or of all; awaits room.
    pub(in crate::router) async fn flush(&mut self, undone: Option<Offset>) {
        if let Some(collecting) = self.outlet.collected() {
            let changes = self.waiting.take_changes(undone);
            collecting.flush(undone, changes).await;
        }
    }

    /// Parks what comes back, due at once, and hands that over with the letters that leave.
    pub(in crate::router) async fn take_back(&mut self, returning: Returning) {
        let Returning { returned, taken, committed } = returning;
        let stages = &self.plan.stages;
        let is_there = |name: &StageName| stages.iter().any(|stage| stage.name == *name);
        let gone = returned.messages.iter().find(|message| !is_there(&message.stage));
        if let Some(gone) = gone {
            // Whoever asked may have gone.
            drop(taken.send(Err(gone.stage.clone())));
            return;
        }
        if taken.send(Ok(())).is_err() {
            return;
        }
        for message in returned.messages {
            if let Some((stage, batch, lineage)) = message.traced() {
                self.waiting.take_back(&stage, batch, lineage, &self.plan.definition);
            }
        }
        let leaving = Leaving { steps: returned.steps, committed };
        if let Some(collecting) = self.outlet.collected() {
            let changes = self.waiting.take_changes(None);
            collecting.flush_with(None, changes, Some(leaving)).await;
        }
    }

    /// Hands over what is through, when a batch makes more than is to be held until its end.
    pub(super) async fn flush_heavy(&mut self, work: &[Work], job: &mut Job) {
        if self.outlet.collected().is_some_and(|collecting| collecting.is_heavy()) {
            self.hand_letters(job).await;
            self.flush_through(work, None).await;
        }
    }

    /// Hands over what is through while a batch is in work.
    pub(super) async fn flush_through(&mut self, work: &[Work], at: Option<&Work>) {
        if self.outlet.is_collecting() {
            let undone = work.iter().chain(at).filter_map(Work::first_undone).min();
            self.flush(undone).await;
        }
    }

    /// Makes messages that went through as many routes as they may dead letters of this one.
    pub(in crate::router) async fn refuse_at_limit(&mut self, input: Traced, lineage: Lineage) {
        let mut job = Job::new(lineage);
        let error = format!(
            "the message went through {MAX_HOPS} routes before it came to this one; routes that feed each other in \
             a circle need a stage that gives it another topic"
        );
        for index in (0_u32..).take(input.batch().len()) {
            let failed = Failed { index, code: ErrorCode::HopLimit, error: error.clone() };
            self.outlet.bury(&mut job, &input, End::Behind(&[]), &failed, History::begin());
        }
        self.hand_letters(&mut job).await;
    }
}
