//! What operators ask for: another place, or the end.

use tokio::sync::oneshot;
use waypost_core::{GroupLedger, GroupPosition};
use waypost_protocol::ErrorCode;
use waypost_storage::{GroupStep, KeptGroup, Unit};

use super::{
    Task,
    keep::{Kept, Waiting},
};
use crate::{
    groups::{operate::Places, start::uncommitted},
    streams::Refused,
};

impl Task {
    /// Goes on from other places: whatever was held under a lease is stale.
    pub(super) fn move_to(&mut self, places: &Places, reply: oneshot::Sender<Result<(), Refused>>) {
        let (policy, now_ms) = (self.rules.policy(), self.clock.now_ms());
        let mut ledgers = Vec::new();
        for (index, part) in self.parts.iter_mut().enumerate() {
            let place = places.iter().find(|(partition, _)| part.partition() == Some(partition));
            let position = match (place, self.crew.ledger(index)) {
                (Some((_, offset)), _) => GroupPosition::at(*offset),
                // A partition that came meanwhile stays where it is.
                (None, Some(ledger)) => ledger.position(&[]),
                (None, None) => GroupPosition::default(),
            };
            part.begin_anew();
            ledgers.push(GroupLedger::new(policy, false, position, now_ms));
        }
        self.crew.replace(ledgers);
        (self.letters, self.burying) = (None, None);
        self.dying.clear();
        self.touch_all();
        self.answers.push(Waiting::moved(self.next_keep(), reply));
        tracing::info!(group = %self.name, "an operator moved the group to another place");
    }

    /// Ends the group, and forgets it.
    pub(super) fn delete(&mut self, reply: oneshot::Sender<Result<(), Refused>>) {
        tracing::info!(group = %self.name, "an operator deleted the group");
        self.deleting = Some(reply);
        self.is_ending = true;
        self.dismiss(&Refused::of(ErrorCode::GroupEnded), |_| true);
    }

    /// Forgets the group, if it is to be forgotten: nothing else of it is on its way to storage.
    pub(super) fn forget(&mut self) -> bool {
        let Some(reply) = self.deleting.take() else { return false };
        let (storage, group) = (self.groups.0.streams.storage().clone(), self.name.clone());
        self.keeping = Some(Box::pin(async move {
            let forgotten = async {
                let kept = storage.group(group.clone()).await;
                let kept = kept.map_err(|error| Refused {
                    code: ErrorCode::Internal,
                    message: error.to_string(),
                })?;
                let step = |kept: KeptGroup| GroupStep {
                    group: group.clone(),
                    source: kept.source,
                    from: Some(kept.revision),
                    to: None,
                };
                let groups = kept.into_iter().map(step).collect();
                let committed = storage.commit(Unit { groups, ..Unit::default() }).await;
                committed.map(|_| ()).map_err(|error| uncommitted(&error))
            };
            Kept::Forgotten(forgotten.await, reply)
        }));
        true
    }
}
