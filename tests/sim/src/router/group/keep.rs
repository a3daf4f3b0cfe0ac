//! Keeps how far the group came together with its dead letters, and answers who waits for that.

use waypost_core::{Dead, DeadLetters, Failure, GroupLedger, Partition};
use waypost_protocol::{Envelope, ErrorCode, Limits, Offset, partition_of};
use waypost_storage::{
    Append, CommitError, GroupState, GroupStep, ReadError, ReadLimit, Revision, Unit,
};

use super::{Group, LINGER_MS};
use crate::{
    disk::Request,
    network::{Connection, ToClient},
    shared::{Asking, Shared},
};

/// How long what nobody waits for is put off.
const KEEP_AFTER_MS: u64 = 20;
/// How long letters wait for room on the disk.
const LETTERS_AFTER_MS: u64 = 50;
/// Letters that are written at once at most.
const MOST_LETTERS: usize = 8;
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };

/// Dead letters of one partition.
#[derive(Debug)]
pub(super) struct Letters {
    partition: usize,
    buried: Vec<Offset>,
    appends: Vec<Append>,
}

/// A commit that is on its way.
#[derive(Debug)]
pub(super) struct Keeping {
    number: u64,
    /// The partitions, with the changes of their ledgers.
    steps: Vec<(usize, u64)>,
    letters: Option<Letters>,
}

/// A member that waits for what it said to be safe.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) keep: u64,
    pub(super) rejected: Vec<(usize, Offset)>,
    pub(super) connection: Connection,
    pub(super) request: u64,
    pub(super) is_refused: bool,
}

impl Group {
    /// Keeps what changed, when it is time.
    pub(super) fn keep(&mut self, shared: &mut Shared) {
        if self.keeping.is_some() {
            return;
        }
        let (crew, parts) = (&self.crew, &self.parts);
        let changes = |partition: &usize| crew.ledger(*partition).map(GroupLedger::changes);
        self.changed.retain(|each| changes(each) != parts.get(*each).map(|part| part.kept));
        let has_letters = self.letters.is_some() && self.letters_after_ms <= shared.now_ms;
        if self.changed.is_empty() && !has_letters {
            self.keep_at_ms = None;
            self.answer(shared, u64::MAX);
            let since_ms = self.empty_since_ms;
            self.is_left = since_ms.is_some_and(|since_ms| since_ms + LINGER_MS <= shared.now_ms);
            return;
        }
        let is_over = self.seats.is_empty();
        let at_ms = *self.keep_at_ms.get_or_insert(shared.now_ms + KEEP_AFTER_MS);
        if self.answers.is_empty() && !has_letters && !is_over && at_ms > shared.now_ms {
            return;
        }
        let letters = if has_letters { self.letters.take() } else { None };
        self.commit(shared, letters);
    }

    fn commit(&mut self, shared: &mut Shared, letters: Option<Letters>) {
        self.keep_at_ms = None;
        self.keeps += 1;
        let mut changed = std::mem::take(&mut self.changed);
        changed.extend(letters.as_ref().map(|letters| letters.partition));
        let (mut steps, mut unit) = (Vec::new(), Unit::default());
        for partition in changed {
            let found = self.parts.get(partition).zip(self.crew.ledger(partition));
            let Some((part, ledger)) = found else { continue };
            let own = letters.as_ref().filter(|letters| letters.partition == partition);
            let buried = own.map(|letters| letters.buried.clone()).unwrap_or_default();
            let position = ledger.position(&buried);
            if !position.is_sound() {
                shared.checker.fail(format!("an unsound position of the group: {position:?}"));
            }
            steps.push((partition, ledger.changes()));
            unit.groups.push(GroupStep {
                group: shared.layout.group.clone(),
                source: part.source.clone(),
                from: Some(part.revision),
                to: Some(GroupState { pattern: shared.layout.pattern.clone(), position }),
            });
        }
        unit.appends = letters.as_ref().map(|letters| letters.appends.clone()).unwrap_or_default();
        self.keeping = Some(Keeping { number: self.keeps, steps, letters });
        shared.ask(Request::Commit(Box::new(unit)), Asking::GroupKeeps);
    }

    pub(in crate::router) fn kept(&mut self, shared: &mut Shared, error: Option<CommitError>) {
        let Some(Keeping { number, steps, letters }) = self.keeping.take() else { return };
        match error {
            None => {}
            Some(CommitError::Full { .. }) if letters.is_some() => {
                self.changed.extend(steps.iter().map(|(partition, _)| partition));
                self.letters = letters;
                self.letters_after_ms = shared.now_ms + LETTERS_AFTER_MS;
                return;
            }
            Some(error) => {
                if matches!(error, CommitError::GroupMoved { .. }) {
                    shared.checker.fail(format!("two tasks of one group: {error}"));
                }
                self.is_broken = true;
                return;
            }
        }
        for (partition, changes) in steps {
            if let Some(part) = self.parts.get_mut(partition) {
                part.revision = Revision(part.revision.0 + 1);
                part.kept = changes;
            }
        }
        if let Some(letters) = letters {
            self.buried(&letters);
        }
        self.answer(shared, number);
    }

    /// What was written away is done, and was kept as such.
    fn buried(&mut self, letters: &Letters) {
        let partition = letters.partition;
        let changes = |group: &Self| group.crew.ledger(partition).map(GroupLedger::changes);
        let before = changes(self);
        self.crew.with_ledger(partition, |ledger| ledger.buried(&letters.buried));
        let after = changes(self);
        if let Some(part) = self.parts.get_mut(partition)
            && before == Some(part.kept)
        {
            part.kept = after.unwrap_or_default();
        }
        self.touch(partition);
    }

    fn answer(&mut self, shared: &mut Shared, number: u64) {
        let crew = &self.crew;
        let is_dead = |(partition, offset): &(usize, Offset)| {
            crew.ledger(*partition).is_some_and(|ledger| ledger.is_dead(*offset))
        };
        let waits =
            |waiting: &Waiting| waiting.keep > number || waiting.rejected.iter().any(is_dead);
        let (wait, ready): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.answers).into_iter().partition(waits);
        self.answers = wait;
        for Waiting { connection, request, is_refused, .. } in ready {
            shared.tell_client(connection, ToClient::Settled { request, is_refused });
        }
    }

    /// Begins to bury what is dead, if nothing is being buried.
    pub(super) fn bury(&mut self, shared: &mut Shared) {
        let is_going = self.keeping.as_ref().is_some_and(|keeping| keeping.letters.is_some());
        if self.letters.is_some() || is_going {
            return;
        }
        let Some(partition) = self.dying.first().copied() else { return };
        let dead = self.crew.ledger(partition).into_iter().flat_map(GroupLedger::dead);
        let dead: Vec<Dead> = dead.take(MOST_LETTERS).cloned().collect();
        let Some(source) = self.parts.get(partition).map(|part| part.source.clone()) else {
            return;
        };
        if dead.is_empty() {
            self.dying.remove(&partition);
            return;
        }
        let mut letters = Letters { partition, buried: Vec::new(), appends: Vec::new() };
        for dead in dead {
            match append(shared, &source, &dead) {
                // Retention gave it up meanwhile.
                Ok(None) => letters.buried.push(dead.offset),
                Ok(Some(appends)) => {
                    letters.buried.push(dead.offset);
                    letters.appends.extend(appends);
                }
                Err(error) => return shared.checker.fail(error),
            }
        }
        self.letters = Some(letters);
    }
}

/// The letter of a message, which is read again.
fn append(shared: &Shared, source: &Partition, dead: &Dead) -> Result<Option<Vec<Append>>, String> {
    let read = match shared.disk.read(source, dead.offset, ONE) {
        Err(ReadError::Trimmed { .. }) => return Ok(None),
        read => read.map_err(|error| error.to_string())?,
    };
    let stored = read.batches.first().ok_or("nothing stands where a message was given out")?;
    let index = usize::try_from(dead.offset.0 - stored.base.0).unwrap_or(usize::MAX);
    let message = stored.batch.get(index).ok_or("a batch is shorter than it was")?;
    let layout = &shared.layout;
    let mut letters =
        DeadLetters::of_group(&layout.group, &layout.group_letters, Limits::default());
    let failure = Failure {
        code: ErrorCode::AttemptsExhausted,
        error: "given up".to_owned(),
        stage: None,
        plugin_digest: None,
        attempts: dead.attempts,
        first_failure_ms: dead.first_failure_ms,
        last_failure_ms: dead.last_failure_ms,
    };
    let pushed = letters.push_from(message, &failure, Some((source, dead.offset)));
    pushed.map_err(|error| error.to_string())?;
    let stream = &layout.letters;
    let to = message.key().map_or(0, |key| partition_of(key, stream.partitions));
    let envelope = Envelope { ingest_ms: shared.wall_ms(), ..Envelope::default() };
    let append = |batch| Append {
        partition: Partition::new(stream.name.clone(), to),
        batch,
        envelope: envelope.clone(),
        origin: None,
    };
    Ok(Some(letters.finish().into_iter().map(append).collect()))
}
