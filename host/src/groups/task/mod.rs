//! The task of a group: what happens goes into its ledger, and what the ledger says is done.
//!
//! After each event it gives out what may be given out, reads on where there is room, buries what is dead, and keeps
//! how far the group came. One commit is on its way at a time; what changes meanwhile goes with the next. An
//! acknowledgement that nobody waits for is kept a moment later, so that many share a sync.

mod bury;
mod give;
mod keep;
mod operate;
mod part;
mod settle;
mod tell;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior},
};
use waypost_core::{Cause, Crew, GroupLedger, GroupName, MemberId};
use waypost_protocol::{
    ErrorCode, Pattern,
    frame::{Acknowledge, Joined},
};

use self::{
    bury::Letters,
    keep::{Kept, Waiting},
    part::Read,
};
use super::{
    Groups,
    clock::Clock,
    member::{Answer, JoinGroup, MemberEvent, Membership},
    operate::Places,
    rules::GroupRules,
    start::Beginning,
};
use crate::{
    router::{Delivery, Received},
    streams::Refused,
};

pub(super) use part::{Part, Source};

/// How often a group looks whether retention overtook it, and tells how it stands.
const TICK: Duration = Duration::from_secs(1);
/// How long a group over streams is there without a member.
const LINGER: Duration = Duration::from_secs(5);
/// Commands that are taken before what came of them is done.
const COMMANDS: usize = 64;
/// Lanes take a member that takes nothing for this long to be alive all the same.
const PROGRESS: Duration = Duration::from_millis(500);

/// What is asked of a group.
#[derive(Debug)]
pub(super) enum Command {
    Join(Box<JoinGroup>, oneshot::Sender<Result<Membership, Refused>>),
    Grant(MemberId, u64, u64),
    Settle(MemberId, Acknowledge, oneshot::Sender<Answer>),
    Move(Places, oneshot::Sender<Result<(), Refused>>),
    Delete(oneshot::Sender<Result<(), Refused>>),
}

impl Command {
    /// Tells whoever asked that it cannot be done. He may have gone.
    pub(super) fn refuse(self, refused: &Refused) {
        match self {
            Self::Join(_, reply) => drop(reply.send(Err(refused.clone()))),
            Self::Move(_, reply) | Self::Delete(reply) => {
                drop(reply.send(Err(refused.clone())));
            }
            Self::Grant(..) | Self::Settle(..) => {}
        }
    }
}

/// What happened.
enum Event {
    Command(Option<Command>),
    Read(Read),
    Kept(Kept),
    Buried(Letters),
    Received(Received),
    Gone(MemberId),
    Tick,
    /// It is time for something.
    Time,
}

/// A group that has members, or had some a moment ago.
pub(super) struct Task {
    groups: Groups,
    name: GroupName,
    pattern: Pattern,
    rules: GroupRules,
    /// How long it is there without a member.
    linger: Duration,
    clock: Clock,
    crew: Crew,
    parts: Vec<Part>,
    seats: BTreeMap<MemberId, Seat>,
    gone: FuturesUnordered<BoxFuture<'static, MemberId>>,
    reads: FuturesUnordered<BoxFuture<'static, Read>>,
    burying: Option<BoxFuture<'static, Letters>>,
    /// Letters that go with the next commit.
    letters: Option<Letters>,
    /// Whether the commit that is on its way carries letters: their messages are dead until it is done.
    are_letters_going: bool,
    /// Letters are not tried again before this.
    letters_after: Option<Instant>,
    keeping: Option<BoxFuture<'static, Kept>>,
    /// When what changed is to be kept.
    keep_at: Option<Instant>,
    /// Partitions that changed since they were kept.
    changed: BTreeSet<usize>,
    /// Partitions that may have room to read on.
    wanting: BTreeSet<usize>,
    answers: Vec<Waiting>,
    /// Partitions that have something that is dead.
    dying: BTreeSet<usize>,
    /// How many commits were begun.
    keeps: u64,
    stopping: watch::Receiver<bool>,
    empty_since: Option<Instant>,
    /// Who wants the group to be no more.
    deleting: Option<oneshot::Sender<Result<(), Refused>>>,
    /// Whether it is about to be no more.
    is_ending: bool,
    /// Whether it is no more.
    is_deleted: bool,
    /// Why the group cannot go on.
    broken: Option<Refused>,
}

/// Where a member sits.
struct Seat {
    name: String,
    events: mpsc::Sender<MemberEvent>,
    left: Arc<AtomicBool>,
    frame_bytes: usize,
}

impl Task {
    pub(super) fn new(
        beginning: &Beginning,
        rules: GroupRules,
        clock: Clock,
        ledgers: Vec<GroupLedger>,
        parts: Vec<Part>,
    ) -> Self {
        let Beginning { groups, name, pattern, .. } = beginning;
        let is_shared = parts.iter().all(Part::is_memory);
        let settings = groups.0.settings.load();
        let crew = Crew::new(is_shared, settings.max_members, ledgers);
        let linger = if is_shared { settings.linger } else { LINGER };
        Self {
            groups: groups.clone(),
            name: name.clone(),
            pattern: pattern.clone(),
            rules,
            linger,
            clock,
            crew,
            wanting: (0..parts.len()).collect(),
            parts,
            seats: BTreeMap::new(),
            gone: FuturesUnordered::new(),
            reads: FuturesUnordered::new(),
            burying: None,
            letters: None,
            are_letters_going: false,
            letters_after: None,
            keeping: None,
            keep_at: None,
            changed: BTreeSet::new(),
            answers: Vec::new(),
            dying: BTreeSet::new(),
            keeps: 0,
            stopping: groups.0.stopping.subscribe(),
            empty_since: Some(Instant::now()),
            deleting: None,
            is_ending: false,
            is_deleted: false,
            broken: None,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What failed as often as it may before the router ended is dead already.
        self.touch_all();
        while !self.is_over() {
            self.work();
            if self.is_over() {
                // Somebody may have come meanwhile.
                match commands.try_recv() {
                    Ok(command) => self.command(command),
                    Err(_) => break,
                }
                continue;
            }
            let event = self.event(&mut commands, &mut ticks).await;
            self.handle(event);
            for _ in 0..COMMANDS {
                let Ok(command) = commands.try_recv() else { break };
                self.command(command);
            }
        }
        // Whoever asks from now on asks the next task of the group; it begins only when this one has ended.
        commands.close();
        self.end();
    }

    async fn event(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        ticks: &mut tokio::time::Interval,
    ) -> Event {
        let wake = self.wake();
        let wants = self.wants_memory();
        let Self { reads, gone, keeping, burying, parts, stopping, .. } = self;
        let received = async {
            match parts.first_mut().map(|part| &mut part.source) {
                Some(Source::Memory(subscription)) if wants => subscription.recv().await,
                _ => pending().await,
            }
        };
        tokio::select! {
            command = commands.recv() => Event::Command(command),
            Some(read) = reads.next(), if !reads.is_empty() => Event::Read(read),
            Some(member) = gone.next(), if !gone.is_empty() => Event::Gone(member),
            kept = optional(keeping) => Event::Kept(kept),
            letters = optional(burying) => Event::Buried(letters),
            received = received => Event::Received(received),
            _ = ticks.tick() => Event::Tick,
            () = tokio::time::sleep_until(wake) => Event::Time,
            _ = stopping.changed() => Event::Time,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Command(Some(command)) => self.command(command),
            // Nobody can ask any more: the router ends.
            Event::Command(None) => self.broken = Some(Refused::of(ErrorCode::ShuttingDown)),
            Event::Read(read) => self.read(read),
            Event::Kept(kept) => {
                self.keeping = None;
                self.kept(kept);
            }
            Event::Buried(letters) => {
                self.burying = None;
                self.letters = Some(letters);
            }
            Event::Received(Received::Delivery(delivery)) => self.receive(&delivery),
            Event::Received(Received::Ended(code)) => self.broken = Some(Refused::of(code)),
            Event::Gone(member) => self.leave(member),
            Event::Tick => self.tick(),
            Event::Time => {}
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            // Whoever asks may have gone: then the seat is found empty.
            Command::Join(join, reply) => drop(reply.send(self.join(&join))),
            Command::Grant(member, messages, bytes) => {
                self.crew.grant(member, messages, bytes);
                self.crew.heard_of(member);
            }
            Command::Settle(member, acknowledge, reply) => self.settle(member, acknowledge, reply),
            Command::Move(places, reply) => self.move_to(&places, reply),
            Command::Delete(reply) => self.delete(reply),
        }
    }

    fn join(&mut self, join: &JoinGroup) -> Result<Membership, Refused> {
        if *self.stopping.borrow() {
            return Err(Refused::of(ErrorCode::ShuttingDown));
        }
        if self.is_ending {
            return Err(Refused::of(ErrorCode::GroupEnded));
        }
        let member = self.groups.0.member_id();
        let most = self.rules.max_in_flight.max(1);
        let max_in_flight = match join.max_in_flight {
            0 => most,
            asked => asked.min(most),
        };
        let in_flight = usize::try_from(max_in_flight).unwrap_or(usize::MAX);
        self.crew.join(member, in_flight, join.credit).map_err(|error| Refused {
            code: ErrorCode::TooManyMembers,
            message: format!("{}: {error}", self.name),
        })?;
        // Each delivery has a message at least, and one place is for the end.
        let (events, receiver) = mpsc::channel(in_flight.saturating_add(1));
        let left = Arc::new(AtomicBool::new(false));
        let closed = events.clone();
        self.gone.push(Box::pin(async move {
            closed.closed().await;
            member
        }));
        let (name, frame_bytes) = (join.member.clone(), join.frame_bytes);
        let seat = Seat { name, events, left: left.clone(), frame_bytes };
        self.seats.insert(member, seat);
        self.wanting.extend(0..self.parts.len());
        self.empty_since = None;
        let (group, called) = (&self.name, &join.member);
        tracing::debug!(%group, %member, called, pattern = %self.pattern, "a member joined");
        let lease_ms = self.rules.policy().lease_ms;
        let takes_rejects = self.rules.dead_letter.is_some();
        let joined = Joined { lease_ms, max_in_flight, takes_rejects };
        self.tell();
        let task = self.groups.0.table().get(&self.name).and_then(|entry| entry.task.clone());
        let task = task.ok_or_else(|| Refused::of(ErrorCode::Overloaded))?;
        Ok(Membership { member, joined, events: receiver, task, left })
    }

    /// A member's conversation has ended.
    fn leave(&mut self, member: MemberId) {
        let Some(seat) = self.seats.remove(&member) else { return };
        let cause = match seat.left.load(Ordering::Acquire) || *self.stopping.borrow() {
            true => None,
            false => Some(Cause::Lost),
        };
        let returned = self.crew.leave(member, cause.as_ref(), self.clock.now_ms());
        let how = if cause.is_some() { "lost" } else { "released" };
        self.groups.0.metrics.settled(&self.name, how, returned);
        let group = &self.name;
        tracing::debug!(%group, %member, returned, how, "a member left");
        self.touch_all();
        self.tell();
        if self.seats.is_empty() {
            self.empty_since = Some(Instant::now());
        }
    }

    /// Does whatever there is to do.
    fn work(&mut self) {
        let now_ms = self.clock.now_ms();
        if self.crew.next_timer_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let returned = self.crew.handle_timers(now_ms);
            if returned > 0 {
                let group = &self.name;
                tracing::debug!(%group, returned, "leases ended");
                self.groups.0.metrics.settled(group, "expired", returned);
                self.touch_all();
            }
        }
        let is_stopping = *self.stopping.borrow();
        if let Some(refused) = self.broken.clone() {
            self.dismiss(&refused, |_| true);
        } else if is_stopping {
            let held: BTreeSet<MemberId> = self
                .crew
                .members()
                .filter(|stand| stand.held > 0)
                .map(|stand| stand.member)
                .collect();
            let stopping = Refused::of(ErrorCode::ShuttingDown);
            self.dismiss(&stopping, |member| !held.contains(member));
        } else {
            while let Some(offer) = self.crew.poll_offer(now_ms) {
                self.give(&offer, now_ms);
            }
            for partition in std::mem::take(&mut self.wanting) {
                self.read_on(partition);
            }
        }
        if self.broken.is_none() {
            self.bury();
            self.keep();
        }
    }

    /// Ends the membership of those whom it holds for. Their seats go when they have.
    fn dismiss(&mut self, refused: &Refused, of: impl Fn(&MemberId) -> bool) {
        let leaving = self.seats.iter().filter(|(member, _)| of(member));
        let leaving: Vec<MemberId> = leaving.map(|(member, _)| *member).collect();
        for member in leaving {
            if let Some(seat) = self.seats.remove(&member) {
                // There is a place for the end; whoever has gone needs none.
                let _ = seat.events.try_send(MemberEvent::Ended(refused.clone()));
                let returned = self.crew.leave(member, None, self.clock.now_ms());
                self.groups.0.metrics.settled(&self.name, "released", returned);
            }
        }
        if self.seats.is_empty() {
            self.empty_since.get_or_insert_with(Instant::now);
        }
    }

    fn is_over(&self) -> bool {
        if !self.seats.is_empty() {
            return false;
        }
        if self.broken.is_some() || self.is_deleted {
            return true;
        }
        let lingered = self.empty_since.is_some_and(|since| since.elapsed() >= self.linger);
        let is_stopping = *self.stopping.borrow();
        if is_stopping && !self.is_memory() && self.letters_after.is_some() {
            // There is no room for its letters; it finds what they are of again by its position.
            return self.keeping.is_none() && self.changed.is_empty();
        }
        (lingered || is_stopping)
            && self.is_kept()
            && self.burying.is_none()
            && self.letters.is_none()
    }

    fn end(mut self) {
        self.answers.clear();
        let is_kept = !self.is_memory() && !self.is_deleted;
        if is_kept {
            self.tell();
        } else {
            let left: usize = self.crew.ledger(0).map_or(0, GroupLedger::waiting);
            if left > 0 && !self.is_deleted {
                let group = &self.name;
                tracing::warn!(%group, messages = left, "nobody is in the group any more; what it had is lost");
                let lost = u64::try_from(left).unwrap_or(u64::MAX);
                self.groups.0.metrics.count(&self.groups.0.metrics.lost, group, lost);
            }
        }
        self.groups.rest(&self.name, is_kept);
    }

    fn is_memory(&self) -> bool {
        self.parts.iter().all(Part::is_memory)
    }

    /// Looks at everything again: what changed may be anywhere.
    fn touch_all(&mut self) {
        for partition in 0..self.parts.len() {
            self.touch(partition);
        }
    }

    /// A partition's ledger has changed.
    fn touch(&mut self, partition: usize) {
        self.wanting.insert(partition);
        self.changed.insert(partition);
        if self.crew.ledger(partition).is_some_and(|ledger| ledger.dead().next().is_some()) {
            self.dying.insert(partition);
        }
    }

    /// When something is to be done by itself.
    fn wake(&self) -> Instant {
        let timer = self.crew.next_timer_ms().map(|at_ms| self.clock.instant(at_ms));
        let over = self.empty_since.filter(|_| self.seats.is_empty());
        // A task that may not end yet is woken by what it waits for.
        let over = over.map(|since| since + self.linger).filter(|over| *over > Instant::now());
        let letters = self.letters.as_ref().and(self.letters_after);
        let progress = self.is_memory().then(|| Instant::now() + PROGRESS);
        let all = [timer, self.keep_at, over, letters, progress];
        all.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + TICK)
    }

    /// Takes what was published to memory topics.
    fn receive(&mut self, delivery: &Delivery) {
        if let Some(part) = self.parts.first_mut() {
            let messages = part.take_in(delivery, self.clock.now_ms());
            self.crew.with_ledger(0, |ledger| {
                for message in messages {
                    ledger.admit(message);
                }
            });
        }
    }
}

/// A future that there may be.
async fn optional<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}
