//! Keeps how far the group came, and answers who waits for that.

use std::time::Duration;

use tokio::{sync::oneshot, time::Instant};
use waypost_core::GroupLedger;
use waypost_protocol::Offset;
use waypost_storage::{CommitError, Committed, GroupState, GroupStep, Revision, Unit};

use super::{Source, Task, bury::Letters, settle::Rejected};
use crate::{
    groups::{member::Answer, start::uncommitted},
    streams::Refused,
};

/// How long what nobody waits for is put off, so that more of it shares a sync.
const KEEP_AFTER: Duration = Duration::from_millis(50);
/// How long letters wait for room on the disk.
const LETTERS_AFTER: Duration = Duration::from_secs(1);

/// Somebody who waits for what he said to be safe.
pub(super) struct Waiting {
    /// The commit that carries it.
    keep: u64,
    /// What must be buried first.
    rejected: Vec<Rejected>,
    reply: Reply,
}

/// Who waits.
enum Reply {
    Member(Answer, oneshot::Sender<Answer>),
    Operator(oneshot::Sender<Result<(), Refused>>),
}

/// What a commit came to.
pub(super) enum Kept {
    /// How far the group came.
    Position(Position),
    /// The group is no more, unless it could not be forgotten.
    Forgotten(Result<(), Refused>, oneshot::Sender<Result<(), Refused>>),
}

pub(super) struct Position {
    number: u64,
    steps: Vec<Step>,
    letters: Option<Letters>,
    outcome: Result<Committed, CommitError>,
}

/// A partition in a commit.
struct Step {
    partition: usize,
    /// Which of its lives it is in.
    life: u64,
    /// The changes of its ledger that the commit carries.
    changes: u64,
}

impl Waiting {
    pub(super) fn new(
        keep: u64,
        rejected: Vec<Rejected>,
        answer: Answer,
        reply: oneshot::Sender<Answer>,
    ) -> Self {
        Self { keep, rejected, reply: Reply::Member(answer, reply) }
    }

    /// An operator, who waits for a move to be safe.
    pub(super) fn moved(keep: u64, reply: oneshot::Sender<Result<(), Refused>>) -> Self {
        Self { keep, rejected: Vec::new(), reply: Reply::Operator(reply) }
    }
}

impl Task {
    /// The commit that carries what changes now.
    pub(super) fn next_keep(&self) -> u64 {
        self.keeps + 1
    }

    /// Whether everything is kept and nobody waits.
    pub(super) fn is_kept(&self) -> bool {
        self.keeping.is_none() && self.changed.is_empty() && self.answers.is_empty()
    }

    /// Keeps what changed, when it is time.
    pub(super) fn keep(&mut self) {
        if self.keeping.is_some() || self.forget() {
            return;
        }
        if self.is_memory() {
            self.changed.clear();
            self.bury_published();
            return self.answer(u64::MAX);
        }
        let (crew, parts) = (&self.crew, &self.parts);
        let changes = |partition: &usize| crew.ledger(*partition).map(GroupLedger::changes);
        self.changed.retain(|each| changes(each) != parts.get(*each).map(|part| part.kept));
        let now = Instant::now();
        let letters_may_go = self.letters_after.is_none_or(|after| after <= now);
        let has_letters = self.letters.is_some() && letters_may_go;
        if self.changed.is_empty() && !has_letters {
            self.keep_at = None;
            return self.answer(u64::MAX);
        }
        let is_over = self.seats.is_empty() || *self.stopping.borrow();
        let at = *self.keep_at.get_or_insert(now + KEEP_AFTER);
        if self.answers.is_empty() && !has_letters && !is_over && at > now {
            return;
        }
        let letters = if has_letters { self.letters.take() } else { None };
        self.commit(letters);
    }

    fn commit(&mut self, letters: Option<Letters>) {
        self.keep_at = None;
        self.keeps += 1;
        self.are_letters_going = letters.is_some();
        let mut changed = std::mem::take(&mut self.changed);
        changed.extend(letters.as_ref().map(|letters| letters.partition));
        let (mut steps, mut unit) = (Vec::new(), Unit::default());
        for partition in changed {
            let Some((part, ledger)) = self.parts.get(partition).zip(self.crew.ledger(partition))
            else {
                continue;
            };
            let Source::Stream { partition: source, revision } = &part.source else { continue };
            let own = letters.as_ref().filter(|letters| letters.partition == partition);
            let buried = own.map(Letters::offsets).unwrap_or_default();
            let position = ledger.position(&buried);
            steps.push(Step { partition, life: part.life, changes: ledger.changes() });
            unit.groups.push(GroupStep {
                group: self.name.clone(),
                source: source.clone(),
                from: Some(*revision),
                to: Some(GroupState { pattern: self.pattern.clone(), position }),
            });
        }
        unit.appends = letters.as_ref().map(|letters| letters.appends.clone()).unwrap_or_default();
        let (storage, number) = (self.groups.0.streams.storage().clone(), self.keeps);
        self.keeping = Some(Box::pin(async move {
            let outcome = storage.commit(unit).await;
            Kept::Position(Position { number, steps, letters, outcome })
        }));
    }

    pub(super) fn kept(&mut self, kept: Kept) {
        self.are_letters_going = false;
        let Position { number, steps, letters, outcome } = match kept {
            Kept::Position(position) => position,
            Kept::Forgotten(forgotten, reply) => {
                (self.is_deleted, self.is_ending) = (forgotten.is_ok(), false);
                // Whoever asked may have gone.
                drop(reply.send(forgotten));
                return;
            }
        };
        match outcome {
            Ok(_) => {}
            Err(CommitError::Full { .. }) if letters.is_some() => {
                tracing::error!(
                    group = %self.name,
                    "dead letters wait until there is room on the disk; nothing of them is dropped"
                );
                self.changed.extend(steps.iter().map(|step| step.partition));
                self.letters = letters;
                self.letters_after = Some(Instant::now() + LETTERS_AFTER);
                return;
            }
            Err(error) => {
                tracing::error!(group = %self.name, %error, "how far a group came is not kept");
                self.broken = Some(uncommitted(&error));
                return;
            }
        }
        for Step { partition, life, changes } in steps {
            let Some(part) = self.parts.get_mut(partition) else { continue };
            if let Source::Stream { revision, .. } = &mut part.source {
                *revision = Revision(revision.0.saturating_add(1));
            }
            if part.life == life {
                part.kept = changes;
            }
        }
        if let Some(letters) = letters {
            self.letters_after = None;
            self.buried(&letters);
        }
        self.answer(number);
    }

    /// What was written away is done. It was kept as such.
    fn buried(&mut self, letters: &Letters) {
        let partition = letters.partition;
        let changes = |task: &Self| task.crew.ledger(partition).map(GroupLedger::changes);
        let before = changes(self);
        let offsets = letters.offsets();
        self.crew.with_ledger(partition, |ledger| ledger.buried(&offsets));
        let after = changes(self);
        if let Some(part) = self.parts.get_mut(partition)
            && before == Some(part.kept)
        {
            part.kept = after.unwrap_or_default();
        }
        let metrics = &self.groups.0.metrics;
        metrics.count(&metrics.dead_letters, &self.name, letters.buried.len() as u64);
        metrics.count(&metrics.lost, &self.name, letters.gone.len() as u64);
        self.touch(partition);
    }

    /// Letters that went to memory topics need no commit.
    fn bury_published(&mut self) {
        if let Some(letters) = self.letters.take() {
            self.buried(&letters);
        }
    }

    /// Answers those whose word a commit carried.
    fn answer(&mut self, number: u64) {
        let crew = &self.crew;
        let is_dead = |(partition, offset): &(usize, Offset)| {
            crew.ledger(*partition).is_some_and(|ledger| ledger.is_dead(*offset))
        };
        let waits =
            |waiting: &mut Waiting| waiting.keep > number || waiting.rejected.iter().any(is_dead);
        let (wait, ready) = std::mem::take(&mut self.answers).into_iter().fold(
            (Vec::new(), Vec::new()),
            |(mut wait, mut ready), mut waiting| {
                let line = if waits(&mut waiting) { &mut wait } else { &mut ready };
                line.push(waiting);
                (wait, ready)
            },
        );
        self.answers = wait;
        for Waiting { reply, .. } in ready {
            // Whoever waited may have gone.
            match reply {
                Reply::Member(answer, reply) => drop(reply.send(answer)),
                Reply::Operator(reply) => drop(reply.send(Ok(()))),
            }
        }
    }
}
