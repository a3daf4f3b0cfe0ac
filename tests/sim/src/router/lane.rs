//! The lane of a partition: reads, runs the pipeline, and commits what comes of it, as the host's durable lane does.

use std::collections::VecDeque;

use waypost_core::{Flight, FlightAnswer, Living, Partition, Progress, RetryPolicy, Trace, Traced};
use waypost_protocol::Offset;
use waypost_storage::{CommitError, GroupStep, ReadLimit, Step, Stored, Unit};

use super::{
    dlq::Returned,
    draft::{Collecting, Composed},
    parked::{Parked, Trial, Waiting},
    pipeline::{Job, Pipeline},
    plugin,
};
use crate::{
    disk::Request,
    shared::{Asking, Event, Shared},
};

/// Units that wait for storage at once.
const UNITS: usize = 4;
/// Messages of a batch that a lane runs.
const BATCH: usize = 8;
/// What is read at once.
const READ: ReadLimit = ReadLimit { max_batches: 4, max_bytes: 1 << 20 };
/// Progress through messages of which nothing comes is told this late.
const TELL_AFTER_MS: u64 = 100;
/// The pause after a refusal.
const PAUSE_MS: u64 = 50;
const POLICY: RetryPolicy = RetryPolicy {
    attempts: 4,
    first_ms: 10,
    max_ms: 120,
    parked_messages: 10,
    parked_bytes: 1 << 20,
};

pub(super) struct Lane {
    index: usize,
    source: Partition,
    waiting: Waiting,
    collecting: Collecting,
    flight: Flight<Composed>,
    job: Option<Job>,
    /// What comes back to the route.
    returned: Option<Returned>,
    ready: VecDeque<Stored>,
    /// Where it reads on.
    cursor: Offset,
    next: Offset,
    begins: Begins,
    paused_until_ms: Option<u64>,
    tell_at_ms: Option<u64>,
    /// Nothing more is committed here.
    has_given_up: bool,
    scheduled_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    No,
    Asked,
    Done,
}

/// Messages that a lane may have parked at most: its bound, and what its last batch made.
pub(super) fn most_parked() -> usize {
    POLICY.parked_messages as usize + BATCH * plugin::MOST_EMITTED as usize
}

impl Lane {
    pub(super) fn new(index: usize, source: Partition) -> Self {
        Self {
            index,
            waiting: Waiting::new(source.clone(), POLICY),
            source,
            collecting: Collecting::new(Progress::new(Offset(0))),
            flight: Flight::new(UNITS),
            job: None,
            returned: None,
            ready: VecDeque::new(),
            cursor: Offset(0),
            next: Offset(0),
            begins: Begins::No,
            paused_until_ms: None,
            tell_at_ms: None,
            has_given_up: false,
            scheduled_ms: None,
        }
    }

    pub(super) fn reads(&self, source: &Partition) -> bool {
        self.source == *source
    }

    /// Lets messages come back that were given up on. Says whether it takes them.
    pub(super) fn take_back(&mut self, shared: &mut Shared, returned: Returned) -> bool {
        let takes = self.begins == Begins::Done && !self.has_given_up && !self.waiting.is_full();
        if takes {
            self.returned = Some(returned);
            self.wake(shared, 3);
        }
        takes
    }

    /// Lets it work within so many milliseconds.
    pub(super) fn wake(&mut self, shared: &mut Shared, most_ms: u64) {
        let at_ms = shared.now_ms + shared.random.within(0..most_ms);
        self.wake_at(shared, at_ms);
    }

    fn wake_at(&mut self, shared: &mut Shared, at_ms: u64) {
        if self.scheduled_ms.is_none_or(|scheduled| scheduled > at_ms) {
            self.scheduled_ms = Some(at_ms);
            shared.at(at_ms, Event::Lane(self.index));
        }
    }

    /// Does one thing.
    pub(super) fn work(&mut self, shared: &mut Shared) {
        if self.scheduled_ms != Some(shared.now_ms) {
            return;
        }
        self.scheduled_ms = None;
        match self.begins {
            Begins::No => self.begin(shared),
            Begins::Asked => {}
            Begins::Done if self.has_given_up => {}
            Begins::Done => self.run(shared),
        }
    }

    fn begin(&mut self, shared: &mut Shared) {
        let route = shared.layout.route.clone();
        if let Some(progress) = shared.disk.progress(&route, &self.source) {
            let parked = shared.disk.parked(&route, &self.source);
            let (source, count) = (&self.source, parked.len());
            shared.tell(|| format!("the lane of {source} begins at {progress}, {count} parked"));
            self.waiting.restore(parked, shared);
            self.collecting = Collecting::new(Progress::new(progress));
            (self.cursor, self.next) = (progress, progress);
            self.begins = Begins::Done;
            return self.wake(shared, 3);
        }
        let (park, unpark, source) = (Vec::new(), Vec::new(), self.source.clone());
        let step = Step { route, source, from: None, to: Offset(0), park, unpark };
        let unit = Unit { step: Some(step), ..Unit::default() };
        self.begins = Begins::Asked;
        shared.ask(Request::Commit(Box::new(unit)), Asking::LaneBegins(self.index));
    }

    /// Its beginning is stored, or was refused.
    pub(super) fn begun(&mut self, shared: &mut Shared, _is_stored: bool) {
        self.begins = Begins::No;
        self.wake(shared, PAUSE_MS);
    }

    fn run(&mut self, shared: &mut Shared) {
        let index = self.index;
        while let Some(next) = self.flight.poll_submit() {
            let unit = next.unit.clone();
            shared.ask(Request::Commit(Box::new(unit)), Asking::Lane(index));
        }
        if self.flight.is_paused() {
            let until_ms = *self.paused_until_ms.get_or_insert(shared.now_ms + PAUSE_MS);
            if until_ms > shared.now_ms {
                return self.wake_at(shared, until_ms);
            }
            self.paused_until_ms = None;
            self.flight.resume();
            return self.wake(shared, 2);
        }
        if self.flight.len() >= 2 * UNITS {
            return;
        }
        if self.job.is_some() {
            self.step(shared);
            return self.wake(shared, 3);
        }
        if self.waiting.has_changes() || self.collecting.has_outputs() {
            self.flush(shared, None, Vec::new());
            return self.wake(shared, 2);
        }
        if let Some(Returned { messages, steps }) =
            self.returned.take_if(|_| !self.waiting.is_full())
        {
            for (stage, batch) in messages {
                self.waiting.take_back(shared, &stage, batch);
            }
            self.flush(shared, None, steps);
            return self.wake(shared, 2);
        }
        self.tell_at_ms = match self.collecting.progress.is_ahead() {
            true => Some(self.tell_at_ms.unwrap_or(shared.now_ms + TELL_AFTER_MS)),
            false => None,
        };
        if self.waiting.next_due_ms().is_some_and(|due_ms| due_ms <= shared.now_ms) {
            self.try_again(shared);
            self.wake(shared, 3);
        } else if !self.waiting.is_full() && self.read(shared) {
            self.wake(shared, 3);
        } else if self.tell_at_ms.is_some_and(|at_ms| at_ms <= shared.now_ms) {
            self.tell_at_ms = None;
            self.flush(shared, None, Vec::new());
            self.wake(shared, 2);
        } else {
            let next = self.waiting.next_due_ms().into_iter().chain(self.tell_at_ms).min();
            if let Some(at_ms) = next {
                self.wake_at(shared, at_ms);
            }
        }
    }

    /// One call of the batch in work. Now and again what is through is handed over before the rest.
    fn step(&mut self, shared: &mut Shared) {
        let Some(mut job) = self.job.take() else { return };
        let (waiting, collecting) = (&mut self.waiting, &mut self.collecting);
        let mut pipeline = Pipeline { source: &self.source, waiting, collecting };
        if !pipeline.step(shared, &mut job) {
            return self.collecting.push_letters(job.take_letters());
        }
        if shared.random.chance(150) {
            self.collecting.push_letters(job.take_letters());
            self.flush(shared, job.first_undone(), Vec::new());
        }
        self.job = Some(job);
    }

    fn try_again(&mut self, shared: &Shared) {
        let Some((place, parked)) = self.waiting.take_due(shared.now_ms) else { return };
        let Parked { batch, attempts, first_failure_ms, id } = parked;
        let stage = place.stage();
        self.job = Some(Job::trial(stage, batch, Trial { place, attempts, first_failure_ms, id }));
    }

    /// Takes a batch of what was read, or reads. Says whether there was something.
    fn read(&mut self, shared: &mut Shared) -> bool {
        if self.ready.is_empty() {
            match shared.disk.read(&self.source, self.cursor, READ) {
                Ok(chunk) => {
                    self.cursor = chunk.next;
                    self.ready.extend(chunk.batches);
                }
                Err(error) => shared.checker.fail(format!("a lane cannot read: {error}")),
            }
        }
        let (mut pieces, mut messages, before) = (Vec::new(), 0, self.next);
        while let Some(stored) = self.ready.front() {
            let more = stored.batch.len();
            if !pieces.is_empty() && messages + more > BATCH {
                break;
            }
            let traces = (stored.base.0..stored.end().0).map(|offset| Trace::read(Offset(offset)));
            let whole = Traced::new(stored.batch.clone(), traces.collect());
            let first = self.next.0.saturating_sub(stored.base.0);
            let rest = usize::try_from(first).unwrap_or(0)..more;
            let piece = whole.and_then(|whole| whole.part(rest));
            let ingest_ms = stored.envelope.ingest_ms;
            pieces.extend(piece.and_then(|piece| living(shared, &piece, ingest_ms)));
            messages += more;
            self.next = stored.end();
            self.ready.pop_front();
        }
        self.collecting.progress.read_to(self.next);
        self.job = Traced::join(&pieces).map(Job::new);
        self.next > before
    }

    fn flush(&mut self, shared: &mut Shared, undone: Option<Offset>, groups: Vec<GroupStep>) {
        let changes = self.waiting.take_changes(undone);
        let wall_ms = shared.wall_ms();
        let composed =
            self.collecting.flush(&shared.layout, &self.source, undone, changes, wall_ms);
        if let Some(mut composed) = composed {
            composed.unit.groups = groups;
            let source = &self.source;
            shared.tell(|| {
                let Composed { advance, unit } = &composed;
                let parks = unit.step.as_ref().map_or(0, |step| step.park.len());
                let (from, to, appends) = (advance.from, advance.to, unit.appends.len());
                format!("a unit of {source}: {from} to {to}, {appends} appends, {parks} parked")
            });
            let moves = composed.advance.from != composed.advance.to;
            self.flight.push(composed, moves);
        }
    }

    /// Storage answered the oldest unit. Says whether letters have left with it.
    pub(super) fn answered(&mut self, shared: &mut Shared, error: Option<CommitError>) -> bool {
        let mut committed = None;
        let is_first = !self.flight.is_refused();
        match error {
            None => committed = self.flight.handle_answer(FlightAnswer::Committed),
            Some(
                CommitError::Fenced { .. } | CommitError::Unknown { .. } | CommitError::Closed,
            ) => self.has_given_up = true,
            Some(
                error @ (CommitError::ProgressMoved { .. } | CommitError::ProgressBack { .. }),
            ) if is_first => {
                shared.checker.fail(format!("a lane's unit is refused for good: {error}"));
                self.has_given_up = true;
            }
            Some(_) => drop(self.flight.handle_answer(FlightAnswer::Refused)),
        }
        self.wake(shared, 2);
        committed.is_some_and(|Composed { unit, .. }| !unit.groups.is_empty())
    }

    /// Whether everything that stands in its partition is through.
    pub(super) fn is_idle(&self, shared: &Shared) -> bool {
        let next = shared.disk.bounds(&self.source).next;
        self.begins == Begins::Done
            && self.flight.is_empty()
            && self.job.is_none()
            && self.returned.is_none()
            && self.waiting.len() == 0
            && !self.collecting.progress.is_ahead()
            && !self.collecting.has_outputs()
            && !self.waiting.has_changes()
            && self.collecting.progress.read() == next
    }
}

/// What lives of messages that were taken in at a time.
fn living(shared: &mut Shared, piece: &Traced, ingest_ms: u64) -> Option<Traced> {
    let wall_ms = shared.wall_ms();
    let piece = match shared.layout.lifetimes.living(piece.batch(), ingest_ms, wall_ms) {
        Living::All => piece.clone(),
        Living::Only(living) => piece.gather(&living)?,
    };
    for message in piece.batch().iter() {
        shared.checker.begun(message, ingest_ms);
    }
    Some(piece)
}
