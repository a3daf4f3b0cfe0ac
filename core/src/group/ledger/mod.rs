//! One partition of a group: who holds which message until when, what waits, what is done.
//!
//! The host reads on from [`cursor`](GroupLedger::cursor) while there [is room](GroupLedger::has_room) and
//! [admits](GroupLedger::admit) each message. For a member that has room it asks what is
//! [next](GroupLedger::next), finds the batch that holds it, picks among the
//! [candidates](GroupLedger::candidates) in that batch and gives them out under a [lease](GroupLedger::lease).
//! The member [settles](GroupLedger::settle) them or extends its lease; otherwise they come back when it
//! [expires](GroupLedger::expire) or when its member [leaves](GroupLedger::release). What is
//! [dead](GroupLedger::dead) is written away and then [buried](GroupLedger::buried). Whenever
//! [`changes`](GroupLedger::changes) moves there is a new [position](GroupLedger::position) to keep.
//!
//! A message is `Ready => Leased => (done | Ready | Waiting | Dead)`, `Waiting => Leased`, and `Ready => Waiting`
//! while its key has a [line](super::lines). Time is an argument, in milliseconds of a clock that does not go
//! back.

mod give;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waypost_protocol::Offset;

use super::{
    Cause, Dead, FailedMessage, GroupPolicy, GroupPosition, LeaseId, MemberId, OffsetRange, Ranges,
    lines::Lines,
};

/// Messages that are admitted and neither held nor done at most, before nothing more is admitted.
const MOST_ADMITTED: usize = 16_384;
/// Ranges of what is done out of order, before nothing more is admitted.
const MOST_RANGES: usize = 8192;

/// A message as the host read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupMessage {
    /// Its place; those that were admitted before are passed over.
    pub offset: Offset,
    /// The hash of its key, if it has one.
    pub key: Option<u64>,
    /// When the router took it in, in milliseconds since the Unix epoch.
    pub ingest_ms: u64,
}

/// A message that may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub offset: Offset,
    /// How often it is given out with this time.
    pub attempt: u32,
}

/// What came back from a member without being settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Who had it.
    pub member: MemberId,
    /// How many messages.
    pub messages: usize,
}

/// The ledger of one partition.
#[derive(Debug)]
pub struct GroupLedger {
    policy: GroupPolicy,
    /// Whether members share its messages, so that those of a key must stay with one of them.
    is_shared: bool,
    floor: Offset,
    cursor: Offset,
    done: Ranges,
    open: BTreeMap<Offset, Open>,
    ready: BTreeSet<Offset>,
    lines: Lines,
    /// Messages with a key that failed before the router ended, at or beyond the cursor: older ones of their keys
    /// may not be admitted yet, so they are in no line.
    ahead: BTreeSet<Offset>,
    leases: HashMap<LeaseId, Lease>,
    expiries: BTreeSet<(u64, LeaseId)>,
    members: HashMap<MemberId, usize>,
    /// Where members share messages: who holds messages of a key, and how many.
    holders: HashMap<u64, (MemberId, usize)>,
    dead: BTreeMap<Offset, Dead>,
    /// Open messages that failed.
    failed: usize,
    changes: u64,
    /// Leases that ended and that nobody was told of.
    ended: Vec<LeaseId>,
}

#[derive(Debug)]
struct Open {
    key: Option<u64>,
    ingest_ms: u64,
    failures: u32,
    first_failure_ms: u64,
    due_ms: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Waiting,
    Leased(LeaseId),
    Dead,
}

#[derive(Debug)]
struct Lease {
    member: MemberId,
    expires_ms: u64,
    /// Everything that was delivered under it.
    delivered: Ranges,
    /// How much of it is not settled.
    open: usize,
}

impl GroupLedger {
    /// A ledger that goes on from a position; what failed and was to wait longer than the policy allows, because
    /// the clock is another, is given out sooner.
    #[must_use]
    pub fn new(policy: GroupPolicy, is_shared: bool, position: GroupPosition, now_ms: u64) -> Self {
        let GroupPosition { floor, mut done, failed } = position;
        let floor = done.advance(floor);
        let mut ledger = Self {
            policy,
            is_shared,
            floor,
            cursor: floor,
            done,
            open: BTreeMap::new(),
            ready: BTreeSet::new(),
            lines: Lines::default(),
            ahead: BTreeSet::new(),
            leases: HashMap::new(),
            expiries: BTreeSet::new(),
            members: HashMap::new(),
            holders: HashMap::new(),
            dead: BTreeMap::new(),
            failed: 0,
            changes: 0,
            ended: Vec::new(),
        };
        for failed in failed {
            ledger.restore(failed, now_ms);
        }
        ledger
    }

    fn restore(&mut self, failed: FailedMessage, now_ms: u64) {
        let FailedMessage { offset, key, failures, due_ms, first_failure_ms } = failed;
        let failures = failures.max(1);
        let due_ms = due_ms.min(now_ms.saturating_add(self.policy.retry.longest_ms()));
        let gives_up = self.gives_up_after(failures);
        let state = if gives_up { State::Dead } else { State::Waiting };
        let open = Open { key, ingest_ms: 0, failures, first_failure_ms, due_ms, state };
        self.open.insert(offset, open);
        self.failed += 1;
        if gives_up {
            let last_failure_ms = now_ms;
            let (cause, attempts) = (None, failures);
            let dead = Dead { offset, cause, attempts, first_failure_ms, last_failure_ms };
            self.dead.insert(offset, dead);
        } else if key.is_some() {
            self.ahead.insert(offset);
        } else {
            self.lines.wait(key, offset, due_ms);
        }
    }

    /// The offset of the next message to be admitted.
    #[must_use]
    pub fn cursor(&self) -> Offset {
        self.cursor
    }

    /// Everything before it is done.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.floor
    }

    /// Whether more may be admitted. What comes all the same is taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        // What is ahead of the cursor waits for it to come there.
        let ahead = self.ahead.len();
        self.waiting().saturating_sub(ahead) < MOST_ADMITTED
            && self.failed.saturating_sub(ahead) < self.policy.retry.parked_messages as usize
            && self.done.ranges() < MOST_RANGES
    }

    /// Takes a message into the ledger.
    pub fn admit(&mut self, message: GroupMessage) {
        let GroupMessage { offset, key, ingest_ms } = message;
        if !self.reach(offset) {
            return;
        }
        let (failures, first_failure_ms, due_ms, state) = (0, 0, 0, State::Ready);
        self.open
            .insert(offset, Open { key, ingest_ms, failures, first_failure_ms, due_ms, state });
        self.put_back(offset);
    }

    /// Passes over a message that the group does not want: it is done.
    pub fn skip(&mut self, offset: Offset) {
        if self.reach(offset) {
            self.finish(offset);
        }
    }

    /// Moves the cursor behind an offset. Says whether it is new.
    fn reach(&mut self, offset: Offset) -> bool {
        if offset < self.cursor {
            return false;
        }
        self.go_to(Offset(offset.0.saturating_add(1)));
        // What was given up in an earlier life may be buried, and the floor beyond it, before it is read.
        offset >= self.floor && !self.open.contains_key(&offset) && !self.done.contains(offset)
    }

    /// Moves the cursor on. What it passes takes its place in the line of its key.
    fn go_to(&mut self, cursor: Offset) {
        self.cursor = self.cursor.max(cursor);
        while let Some(offset) = self.ahead.first().copied().filter(|first| *first < self.cursor) {
            self.ahead.remove(&offset);
            if let Some(open) = self.open.get(&offset) {
                self.lines.wait(open.key, offset, open.due_ms);
            }
        }
    }

    /// The first message that is ready to be given out, whoever may have it.
    #[must_use]
    pub fn first_ready(&self) -> Option<Offset> {
        self.ready.first().copied()
    }

    /// What a lease reaches over.
    #[must_use]
    pub fn leased(&self, lease: LeaseId) -> Option<OffsetRange> {
        let delivered = &self.leases.get(&lease)?.delivered;
        let (first, last) = (delivered.iter().next()?.first, delivered.last()?);
        Some(OffsetRange { first, last })
    }

    /// Whether the group gave up on a message that is not buried yet.
    #[must_use]
    pub fn is_dead(&self, offset: Offset) -> bool {
        self.dead.contains_key(&offset)
    }

    /// Messages from one offset to before another cannot be read any more, or are over: those that no member holds are
    /// given up. Gives how many.
    pub fn lost(&mut self, from: Offset, to: Offset) -> u64 {
        let mut lost = 0;
        for offset in (from.max(self.floor).0..to.0).map(Offset) {
            let held = self.open.get(&offset);
            if held.is_some_and(|open| matches!(open.state, State::Leased(_)))
                || self.done.contains(offset)
                // What was given up before may have moved the floor beyond what was done.
                || offset < self.floor
            {
                continue;
            }
            self.finish(offset);
            lost += 1;
        }
        // What failed in an earlier life may be given up before the messages ahead of it are read.
        if from <= self.cursor {
            self.go_to(to);
        }
        lost
    }

    /// How many messages a member holds.
    #[must_use]
    pub fn held_by(&self, member: MemberId) -> usize {
        self.members.get(&member).copied().unwrap_or(0)
    }

    /// How many messages are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.members.values().sum()
    }

    /// How many messages are admitted and not held.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.open.len().saturating_sub(self.held())
    }

    /// How many messages before `next` are not done.
    #[must_use]
    pub fn lag(&self, next: Offset) -> u64 {
        next.0.saturating_sub(self.floor.0).saturating_sub(self.done.count())
    }

    /// When the oldest message that is not done was taken in, if it was admitted.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        let (_, open) = self.open.first_key_value()?;
        Some(open.ingest_ms).filter(|ingest_ms| *ingest_ms > 0)
    }

    /// When something happens by itself: a lease ends, or a message is due.
    #[must_use]
    pub fn next_timer_ms(&self) -> Option<u64> {
        let expiry = self.expiries.first().map(|(expires_ms, _)| *expires_ms);
        expiry.into_iter().chain(self.lines.next_due_ms()).min()
    }

    /// As [`next_timer_ms`](Self::next_timer_ms), for what is not due yet.
    #[must_use]
    pub fn next_timer_after_ms(&self, now_ms: u64) -> Option<u64> {
        let after = now_ms.checked_add(1)?;
        let expiry = self.expiries.range((after, LeaseId(0))..).next();
        let expiry = expiry.map(|(expires_ms, _)| *expires_ms);
        expiry.into_iter().chain(self.lines.next_due_after_ms(now_ms)).min()
    }

    /// The leases that have ended since this was asked last.
    pub fn take_ended(&mut self) -> Vec<LeaseId> {
        std::mem::take(&mut self.ended)
    }

    /// What the group gives up on, from the oldest.
    pub fn dead(&self) -> impl Iterator<Item = &Dead> {
        self.dead.values()
    }

    /// What is dead has been written away.
    pub fn buried(&mut self, offsets: &[Offset]) {
        for offset in offsets {
            if self.dead.remove(offset).is_some() {
                self.finish(*offset);
            }
        }
    }

    /// Everything before an offset is no more. Gives how many messages were lost with it that were not done and
    /// are with no member.
    pub fn trimmed(&mut self, first: Offset) -> u64 {
        if first <= self.floor {
            return 0;
        }
        let mut lost = first.0 - self.floor.0;
        let mut done = self.done.clone();
        let before = done.count();
        let next = done.advance(first);
        // Those that the head moved over were done as well, and are not before `first`.
        lost -= before - done.count() - (next.0 - first.0);
        let kept = self.open.split_off(&first);
        for (offset, open) in std::mem::replace(&mut self.open, kept) {
            if let State::Leased(lease) = open.state {
                lost -= 1;
                self.unlease(lease, open.key);
            }
            self.detach(offset, &open);
        }
        (self.done, self.floor) = (done, next);
        self.go_to(next);
        self.changes += 1;
        lost
    }

    /// Grows whenever the position changes.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The position, as if these of the dead were buried.
    #[must_use]
    pub fn position(&self, buried: &[Offset]) -> GroupPosition {
        let mut done = self.done.clone();
        for offset in buried {
            done.insert(*offset);
        }
        let floor = done.advance(self.floor);
        let failed = self.open.iter().filter(|(_, open)| open.failures > 0);
        let failed = failed.filter(|(offset, _)| !buried.contains(offset));
        let failed = failed.map(|(offset, open)| FailedMessage {
            offset: *offset,
            key: open.key,
            failures: open.failures,
            due_ms: open.due_ms,
            first_failure_ms: open.first_failure_ms,
        });
        GroupPosition { floor, failed: failed.collect(), done }
    }

    fn gives_up_after(&self, failures: u32) -> bool {
        self.policy.buries && failures >= self.policy.retry.attempts
    }

    /// A message is done.
    fn finish(&mut self, offset: Offset) {
        if let Some(open) = self.open.remove(&offset) {
            self.detach(offset, &open);
        }
        self.done.insert(offset);
        self.floor = self.done.advance(self.floor);
        self.changes += 1;
    }

    /// Forgets a message that is no longer open wherever it is noted, except in its lease.
    fn detach(&mut self, offset: Offset, open: &Open) {
        self.ready.remove(&offset);
        self.ahead.remove(&offset);
        self.lines.leave(open.key, offset);
        self.dead.remove(&offset);
        self.failed -= usize::from(open.failures > 0);
    }

    /// A message is no longer held under a lease.
    fn unlease(&mut self, id: LeaseId, key: Option<u64>) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.open -= 1;
            let member = lease.member;
            if lease.open == 0 {
                self.expiries.remove(&(lease.expires_ms, id));
                self.leases.remove(&id);
                self.ended.push(id);
            }
            if let Some(held) = self.members.get_mut(&member) {
                *held -= 1;
                if *held == 0 {
                    self.members.remove(&member);
                }
            }
        }
        if let Some(key) = key
            && let Some((_, count)) = self.holders.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(&key);
            }
        }
    }

    /// What became of a message that a member had and did not finish.
    fn fail(&mut self, offset: Offset, cause: Cause, now_ms: u64, wait_ms: Option<u64>) {
        let rejected = matches!(cause, Cause::Rejected(_));
        let Some(open) = self.open.get_mut(&offset) else { return };
        self.failed += usize::from(open.failures == 0);
        open.failures = open.failures.saturating_add(1);
        if open.first_failure_ms == 0 {
            open.first_failure_ms = now_ms;
        }
        let (key, failures) = (open.key, open.failures);
        let first_failure_ms = open.first_failure_ms;
        open.due_ms = now_ms.saturating_add(wait_ms.unwrap_or(0));
        let due_ms = open.due_ms;
        self.changes += 1;
        let state = if rejected || self.gives_up_after(failures) {
            let (cause, attempts, last_failure_ms) = (Some(cause), failures, now_ms);
            let dead = Dead { offset, cause, attempts, first_failure_ms, last_failure_ms };
            self.dead.insert(offset, dead);
            self.lines.leave(key, offset);
            State::Dead
        } else if wait_ms.is_some() || self.lines.holds(key) {
            self.lines.wait(key, offset, due_ms);
            State::Waiting
        } else {
            self.ready.insert(offset);
            State::Ready
        };
        if let Some(open) = self.open.get_mut(&offset) {
            open.state = state;
        }
    }
}
