//! The task of the group, as the host's has it: after each event it gives out, reads on, buries and keeps.

mod keep;
mod part;

use std::collections::{BTreeMap, BTreeSet};

use keep::{Keeping, Letters, Waiting};
use part::Part;
use waypost_core::{
    Candidate, Cause, Credit, Crew, GroupLedger, GroupPolicy, GroupPosition, LeaseId, Living,
    MemberId, Offer, OffsetRange, RetryPolicy, SettleError, Verb,
};
use waypost_protocol::Offset;
use waypost_storage::{GroupState, GroupStep, Revision, Stored, Unit};

use crate::{
    disk::Request,
    message::Content,
    network::{Connection, Given, GivenMessage, Said, ToClient},
    shared::{Asking, Event, Layout, Shared},
};

/// How long a member holds a delivery.
pub(crate) const LEASE_MS: u64 = 300;
/// How often a message is given out.
pub(crate) const ATTEMPTS: u32 = 4;
/// How long the group is there without a member.
const LINGER_MS: u64 = 200;
const MOST_MEMBERS: usize = 10;
/// Messages that a member holds at most.
pub(crate) const MAX_IN_FLIGHT: usize = 6;
const BYTES: u64 = 1 << 30;
const POLICY: GroupPolicy = GroupPolicy {
    lease_ms: LEASE_MS,
    retry: RetryPolicy {
        attempts: ATTEMPTS,
        first_ms: 20,
        max_ms: 200,
        parked_messages: 20,
        parked_bytes: 1 << 20,
    },
    buries: true,
};

/// The group, beginning or at work.
pub(super) struct Group {
    /// Unique in its story.
    task: u64,
    crew: Crew,
    parts: Vec<Part>,
    seats: BTreeMap<MemberId, Connection>,
    begins: Begins,
    /// Who came before it began.
    pending: Vec<(MemberId, Connection, u64)>,
    began_ms: u64,
    /// The wall's time when it began: from then on its clock does not go back.
    wall_began_ms: u64,
    /// Partitions that may have room to read on, that changed, and that have something dead.
    wanting: BTreeSet<usize>,
    changed: BTreeSet<usize>,
    dying: BTreeSet<usize>,
    letters: Option<Letters>,
    keeping: Option<Keeping>,
    keep_at_ms: Option<u64>,
    letters_after_ms: u64,
    keeps: u64,
    answers: Vec<Waiting>,
    empty_since_ms: Option<u64>,
    /// Nobody was there for long, and everything is kept.
    is_left: bool,
    dismissed: Vec<Connection>,
    is_broken: bool,
    scheduled_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Asked,
    Done,
}

impl Group {
    pub(super) fn begin(shared: &mut Shared) -> Self {
        let mut group = Self {
            task: shared.number(),
            crew: Crew::new(false, MOST_MEMBERS, Vec::new()),
            parts: Vec::new(),
            seats: BTreeMap::new(),
            begins: Begins::Asked,
            pending: Vec::new(),
            began_ms: shared.now_ms,
            wall_began_ms: shared.wall_ms(),
            wanting: BTreeSet::new(),
            changed: BTreeSet::new(),
            dying: BTreeSet::new(),
            letters: None,
            keeping: None,
            keep_at_ms: None,
            letters_after_ms: 0,
            keeps: 0,
            answers: Vec::new(),
            empty_since_ms: Some(shared.now_ms),
            is_left: false,
            dismissed: Vec::new(),
            is_broken: false,
            scheduled_ms: None,
        };
        group.find(shared);
        group
    }

    pub(super) fn is_task(&self, task: u64) -> bool {
        self.task == task
    }

    /// Finds what is kept, or lets the beginning be kept first.
    fn find(&mut self, shared: &mut Shared) {
        let kept = shared.disk.group(&shared.layout.group);
        let partitions = Layout::partitions(&shared.layout.outputs);
        let (mut ledgers, mut parts, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for source in partitions {
            let found = kept.iter().find(|kept| kept.source == source);
            let (revision, position) = match found {
                Some(kept) => (kept.revision, kept.state.position.clone()),
                None => {
                    let position = GroupPosition::at(shared.disk.bounds(&source).first);
                    let pattern = shared.layout.pattern.clone();
                    let to = Some(GroupState { pattern, position: position.clone() });
                    let group = shared.layout.group.clone();
                    new.push(GroupStep { group, source: source.clone(), from: None, to });
                    (Revision(0), position)
                }
            };
            ledgers.push(GroupLedger::new(POLICY, false, position, self.clock_ms(shared)));
            parts.push(Part::new(self.task, source, revision));
        }
        if new.is_empty() {
            self.crew = Crew::new(false, MOST_MEMBERS, ledgers);
            self.parts = parts;
            self.begins = Begins::Done;
            shared.tell(|| "the group begins".to_owned());
            for partition in 0..self.parts.len() {
                self.touch(partition);
            }
            for pending in std::mem::take(&mut self.pending) {
                self.join(shared, pending);
            }
        } else {
            let unit = Unit { groups: new, ..Unit::default() };
            shared.ask(Request::Commit(Box::new(unit)), Asking::GroupBegins);
        }
    }

    /// Its beginning is kept, or was refused.
    pub(super) fn begun(&mut self, shared: &mut Shared, is_kept: bool) {
        match is_kept {
            true => self.find(shared),
            false => {
                self.dismissed.extend(self.pending.drain(..).map(|(_, connection, _)| connection));
                self.is_broken = true;
            }
        }
    }

    pub(super) fn clock_ms(&self, shared: &Shared) -> u64 {
        self.wall_began_ms + (shared.now_ms - self.began_ms)
    }

    pub(super) fn join(
        &mut self,
        shared: &mut Shared,
        (member, connection, credit): (MemberId, Connection, u64),
    ) {
        if self.begins != Begins::Done {
            return self.pending.push((member, connection, credit));
        }
        if self.is_broken || shared.network.client(connection).is_none() {
            return self.dismissed.push(connection);
        }
        let joined = self.crew.join(member, MAX_IN_FLIGHT, Credit::new(credit, BYTES));
        if let Err(error) = joined {
            return shared.checker.fail(error.to_string());
        }
        self.seats.insert(member, connection);
        self.wanting.extend(0..self.parts.len());
        self.empty_since_ms = None;
        shared.tell(|| format!("{connection:?} is member {member}"));
        shared.tell_client(connection, ToClient::Joined);
    }

    pub(super) fn leave(&mut self, shared: &mut Shared, connection: Connection, is_lost: bool) {
        self.pending.retain(|(_, pending, _)| *pending != connection);
        let Some(member) = self.member(connection) else { return };
        self.seats.remove(&member);
        let now_ms = self.clock_ms(shared);
        let cause = is_lost.then_some(Cause::Lost);
        self.crew.leave(member, cause.as_ref(), now_ms);
        shared.checker.left(connection, is_lost, shared.now_ms);
        for partition in 0..self.parts.len() {
            self.touch(partition);
        }
        if self.seats.is_empty() {
            self.empty_since_ms = Some(shared.now_ms);
        }
    }

    pub(super) fn grant(&mut self, connection: Connection, messages: u64) {
        if let Some(member) = self.member(connection) {
            self.crew.grant(member, messages, 0);
            self.crew.heard_of(member);
        }
    }

    pub(super) fn settle(
        &mut self,
        shared: &mut Shared,
        connection: Connection,
        (request, lease): (Option<u64>, LeaseId),
        said: &Said,
    ) {
        let Some(member) = self.member(connection) else { return };
        let mut rejected = Vec::new();
        let settled = self.settle_one(shared, member, lease, said, &mut rejected);
        shared.tell(|| format!("member {member}, lease {lease}: {said:?}: {settled:?}"));
        shared.checker.heard(connection, lease, said, settled.is_ok(), shared.now_ms);
        if let Some(request) = request {
            let is_refused = settled.is_err();
            let keep = self.keeps + 1;
            self.answers.push(Waiting { keep, rejected, connection, request, is_refused });
        }
    }

    fn settle_one(
        &mut self,
        shared: &mut Shared,
        member: MemberId,
        lease: LeaseId,
        said: &Said,
        rejected: &mut Vec<(usize, Offset)>,
    ) -> Result<(), SettleError> {
        let now_ms = self.clock_ms(shared);
        let (verb, offsets) = match said {
            Said::Extend => return self.crew.extend(member, lease, None, now_ms),
            Said::AckThrough(through) => {
                let (partition, _) = self.crew.settle_through(member, lease, *through)?;
                self.touch(partition);
                return Ok(());
            }
            Said::Ack(offsets) => (Verb::Ack, offsets),
            Said::Nack(offsets, delay_ms) => (Verb::Nack { delay_ms: *delay_ms }, offsets),
            Said::Reject(offsets) => (Verb::Reject { reason: "no".to_owned() }, offsets),
        };
        let mut ranges: Vec<_> = offsets.iter().copied().map(OffsetRange::one).collect();
        if ranges.is_empty() {
            let (_, whole) = self.crew.leased(lease).ok_or(SettleError::StaleLease(lease))?;
            ranges.push(whole);
        }
        let (mut refused, mut is_taken) = (None, false);
        for range in ranges {
            let random = shared.random.next();
            match self.crew.settle(member, lease, range, &verb, now_ms, random) {
                Ok((partition, _)) => {
                    is_taken = true;
                    if let Verb::Reject { .. } = verb {
                        let dead = self.crew.ledger(partition).into_iter();
                        let dead = dead.flat_map(GroupLedger::dead).map(|dead| dead.offset);
                        let within = |offset: &Offset| (range.first..=range.last).contains(offset);
                        rejected.extend(dead.filter(within).map(|offset| (partition, offset)));
                    }
                    self.touch(partition);
                }
                Err(SettleError::StaleLease(_)) if is_taken => {}
                Err(error) => drop(refused.get_or_insert(error)),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Does whatever there is to do.
    pub(super) fn work(&mut self, shared: &mut Shared, next_lease: &mut u64) {
        if self.begins != Begins::Done {
            return;
        }
        let now_ms = self.clock_ms(shared);
        if self.crew.next_timer_ms().is_some_and(|at_ms| at_ms <= now_ms)
            && self.crew.handle_timers(now_ms) > 0
        {
            for partition in 0..self.parts.len() {
                self.touch(partition);
            }
        }
        if self.is_broken {
            let seats = std::mem::take(&mut self.seats);
            for (member, connection) in seats {
                self.crew.leave(member, None, now_ms);
                shared.checker.left(connection, false, shared.now_ms);
                self.dismissed.push(connection);
            }
            return;
        }
        while let Some(offer) = self.crew.poll_offer(now_ms) {
            self.give(shared, &offer, next_lease);
        }
        for partition in std::mem::take(&mut self.wanting) {
            self.read_on(shared, partition);
        }
        self.bury(shared);
        self.keep(shared);
        self.schedule(shared);
    }

    fn schedule(&mut self, shared: &mut Shared) {
        let timer = self.crew.next_timer_ms();
        let timer = timer.map(|at_ms| self.began_ms + at_ms.saturating_sub(self.wall_began_ms));
        let over = self.empty_since_ms.map(|since_ms| since_ms + LINGER_MS);
        let letters = self.letters.as_ref().map(|_| self.letters_after_ms);
        let all = [timer, self.keep_at_ms, over.filter(|over| *over > shared.now_ms), letters];
        let Some(at_ms) = all.into_iter().flatten().min() else { return };
        let at_ms = at_ms.max(shared.now_ms + 1);
        if self.scheduled_ms.is_none_or(|known| known > at_ms || known <= shared.now_ms) {
            self.scheduled_ms = Some(at_ms);
            shared.at(at_ms, Event::Group);
        }
    }

    /// Follows an offer: at once, or when the message was read.
    fn give(&mut self, shared: &mut Shared, offer: &Offer, next_lease: &mut u64) {
        let (partition, now_ms) = (offer.partition, self.clock_ms(shared));
        let Some(connection) = self.seats.get(&offer.member).copied() else { return };
        let Some(part) = self.parts.get_mut(partition) else { return };
        let Some(stored) = part.holding(offer.offset) else {
            return part.fetch(shared, partition, offer.offset);
        };
        let within = (stored.base, stored.end());
        let candidates = self.crew.candidates(offer, within, usize::MAX, now_ms);
        let candidates = self.living(shared, partition, &stored, candidates);
        if candidates.is_empty() {
            return;
        }
        let lease = super::lease(next_lease);
        let offsets: Vec<Offset> = candidates.iter().map(|each| each.offset).collect();
        self.crew.lease(lease, offer, &offsets, 1, now_ms);
        self.wanting.insert(partition);
        let messages = candidates.iter().filter_map(|each| given(&stored, *each)).collect();
        let index = u32::try_from(partition).unwrap_or(0);
        let given = Given { lease, partition: index, messages };
        shared.checker.given(connection, &given, shared.now_ms, LEASE_MS);
        shared.tell_client(connection, ToClient::Given(given));
    }

    /// Passes over those whose time to live ended while they waited.
    fn living(
        &mut self,
        shared: &Shared,
        partition: usize,
        stored: &Stored,
        candidates: Vec<Candidate>,
    ) -> Vec<Candidate> {
        let (wall_ms, ingest_ms) = (shared.wall_ms(), stored.envelope.ingest_ms);
        let living = shared.layout.lifetimes.living(&stored.batch, ingest_ms, wall_ms);
        let Living::Only(living) = living else { return candidates };
        let lives = |candidate: &Candidate| {
            let index = candidate.offset.0.checked_sub(stored.base.0);
            let index = index.and_then(|index| u32::try_from(index).ok());
            index.is_some_and(|index| living.binary_search(&index).is_ok())
        };
        let (living, over): (Vec<_>, Vec<_>) = candidates.into_iter().partition(lives);
        if over.is_empty() {
            return living;
        }
        self.crew.with_ledger(partition, |ledger| {
            for Candidate { offset, .. } in over {
                ledger.lost(offset, Offset(offset.0 + 1));
            }
        });
        self.touch(partition);
        self.crew.look_again(partition);
        living
    }

    fn read_on(&mut self, shared: &mut Shared, partition: usize) {
        let is_owned = self.crew.owner(partition).is_some();
        let Some(ledger) = self.crew.ledger(partition) else { return };
        let (has_room, from, ready) = (ledger.has_room(), ledger.cursor(), ledger.first_ready());
        let Some(part) = self.parts.get_mut(partition) else { return };
        part.forget_before(ready);
        if is_owned && has_room {
            part.read_on(shared, partition, from);
        }
    }

    /// There may be more to read.
    pub(super) fn look(&mut self, shared: &mut Shared) {
        for partition in 0..self.parts.len() {
            if shared.random.chance(100) {
                self.follow_retention(shared, partition);
            }
            if let Some(part) = self.parts.get_mut(partition) {
                part.look(shared, partition);
            }
        }
    }

    /// A read is done.
    pub(super) fn read(&mut self, shared: &mut Shared, partition: usize, wanted: Option<Offset>) {
        let Some(part) = self.parts.get_mut(partition) else { return };
        let Some(read) = part.read(shared, wanted) else {
            return self.follow_retention(shared, partition);
        };
        for (message, lives) in read {
            self.crew.with_ledger(partition, |ledger| match lives {
                true => ledger.admit(message),
                false => ledger.skip(message.offset),
            });
        }
        self.touch(partition);
        self.crew.look_again(partition);
    }

    /// Takes note of what retention gave up.
    fn follow_retention(&mut self, shared: &mut Shared, partition: usize) {
        let Some(part) = self.parts.get_mut(partition) else { return };
        let first = shared.disk.bounds(&part.source).first;
        let floor = self.crew.ledger(partition).map(GroupLedger::floor).unwrap_or_default();
        if first > floor {
            let lost = self.crew.with_ledger(partition, |ledger| ledger.trimmed(first));
            shared.checker.lost(partition, floor, first, lost.unwrap_or(0));
            let cursor = self.crew.ledger(partition).map(GroupLedger::cursor);
            part.move_to(cursor.unwrap_or_default());
        }
        self.touch(partition);
        self.crew.look_again(partition);
    }

    fn touch(&mut self, partition: usize) {
        self.wanting.insert(partition);
        self.changed.insert(partition);
        if self.crew.ledger(partition).is_some_and(|ledger| ledger.dead().next().is_some()) {
            self.dying.insert(partition);
        }
    }

    fn member(&self, connection: Connection) -> Option<MemberId> {
        let found = self.seats.iter().find(|(_, seat)| **seat == connection);
        found.map(|(member, _)| *member)
    }

    pub(super) fn take_dismissed(&mut self) -> Vec<Connection> {
        std::mem::take(&mut self.dismissed)
    }

    /// Whether its task is to end.
    pub(super) fn is_over(&self) -> bool {
        self.seats.is_empty()
            && self.pending.is_empty()
            && self.dismissed.is_empty()
            && (self.is_broken || self.is_left)
    }
}

fn given(stored: &Stored, candidate: Candidate) -> Option<GivenMessage> {
    let Candidate { offset, attempt } = candidate;
    let index = usize::try_from(offset.0.checked_sub(stored.base.0)?).ok()?;
    let message = stored.batch.get(index)?;
    let key = message.key().and_then(|key| key.first().copied());
    let content = Content::read(message)?;
    Some(GivenMessage { offset, attempt, key, content })
}
