//! A story: what its seed draws, step by step, to its end.

use std::{fmt, ops::AddAssign};

use waypost_protocol::{Epoch, ProducerId};

use crate::{
    check::Tally,
    clients::{Member, Producer},
    faults::Faults,
    network::{Client, Frame, Side},
    random::Random,
    router::Router,
    shared::{Event, Layout, Shared},
};

/// Steps in which faults may happen.
const STEPS: u64 = 1_500;
/// Steps after which a story that has not come to its end never will.
const MOST_STEPS: u64 = 60_000;
/// Steps between two looks at whether a story has come to its end.
const LOOK_EVERY: u64 = 50;
/// When the last of all is stored at the latest. Whatever a clock has done, nothing waits for longer than a day, and is
/// tried again as often as may be, by clients who look only now and again.
const LONGEST_CALM_MS: u64 = 30 * 86_400_000;
const DECADE_MS: u64 = 315_360_000_000;

/// What happened in stories, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Steps that were taken.
    pub steps: u64,
    /// Messages that were published.
    pub published: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Batches that were sent again and had been stored.
    pub duplicates: u64,
    /// Messages that left the route.
    pub outputs: u64,
    /// Dead letters, of the route and the group.
    pub dead: u64,
    /// Messages that the group gave out, each time.
    pub given: u64,
    /// Messages whose acknowledgement was confirmed.
    pub confirmed: u64,
    /// Routers that were killed.
    pub crashes: u64,
    /// Dead letters that were replayed.
    pub replayed: u64,
    /// Messages that were passed over because their time to live was over, by the route or the group.
    pub passed: u64,
    /// Messages that retention gave up before the group was done with them.
    pub trimmed: u64,
    /// Units that were torn.
    pub torn: u64,
    /// Connections that were lost.
    pub lost: u64,
}

/// How a story ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What happened.
    pub counts: Counts,
    /// The promise that was broken, if one was.
    pub failure: Option<Failure>,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In which step.
    pub step: u64,
    /// Which one, and how.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "step {}: {}", self.step, self.what)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.published += other.published;
        self.acknowledged += other.acknowledged;
        self.duplicates += other.duplicates;
        self.outputs += other.outputs;
        self.dead += other.dead;
        self.given += other.given;
        self.confirmed += other.confirmed;
        self.crashes += other.crashes;
        self.replayed += other.replayed;
        self.passed += other.passed;
        self.trimmed += other.trimmed;
        self.torn += other.torn;
        self.lost += other.lost;
    }
}

struct World {
    shared: Shared,
    router: Option<Router>,
    producers: Vec<Producer>,
    members: Vec<Member>,
    faults: Faults,
    counts: Counts,
    looked_at: u64,
    /// When the disk was changed last.
    changed_ms: u64,
}

/// Tells the story of a seed to its end, or until a promise is broken.
#[must_use]
pub fn run(seed: u64) -> Report {
    World::new(seed, false).run(seed).0
}

/// As [`run`], with what happened line by line.
#[must_use]
pub fn tell(seed: u64) -> (Report, Vec<String>) {
    World::new(seed, true).run(seed)
}

impl World {
    fn new(seed: u64, is_told: bool) -> Self {
        let mut random = Random::new(seed);
        let mut partitions = || u32::try_from(random.within(1..4)).unwrap_or(1);
        let layout = Layout::new([partitions(), partitions(), partitions()]);
        let faults = Faults::draw(&mut random);
        let (producers, members) = (random.within(1..4), random.within(1..4));
        let messages = random.within(20..70);
        let mut shared = Shared::new(layout, random, is_told);
        let source = shared.layout.source.partitions;
        let producer = |index: u64| {
            let identity = (ProducerId(index), Epoch(0));
            Producer::new(usize::try_from(index).unwrap_or(0), identity, messages, source)
        };
        let producers: Vec<_> = (0..producers).map(producer).collect();
        let members: Vec<_> =
            (0..members).map(|index| Member::new(usize::try_from(index).unwrap_or(0))).collect();
        shared.tell(|| format!("seed {seed}: {faults:?}"));
        shared.at(0, Event::Start);
        for index in 0..producers.len() {
            shared.within(50, Event::Client(Client::Producer(index)));
        }
        for index in 0..members.len() {
            shared.within(200, Event::Client(Client::Member(index)));
        }
        let (router, counts) = (None, Counts::default());
        Self { shared, router, producers, members, faults, counts, looked_at: 0, changed_ms: 0 }
    }

    fn run(mut self, seed: u64) -> (Report, Vec<String>) {
        let mut failure = None;
        for step in 0..MOST_STEPS {
            self.counts.steps = step;
            if step == STEPS {
                self.calm();
            }
            if !self.shared.is_calm {
                self.fault();
            }
            let is_over = !self.step();
            self.look();
            let what = match self.shared.checker.violation() {
                Some(violation) => violation.to_owned(),
                None if self.shared.is_calm && step % LOOK_EVERY == 0 && self.is_done() => {
                    self.shared.checker.finish(&self.shared.disk);
                    let took_ms = self.changed_ms.saturating_sub(self.shared.calm_since_ms);
                    match self.shared.checker.violation() {
                        Some(violation) => violation.to_owned(),
                        None if took_ms > LONGEST_CALM_MS => format!("it took {took_ms} ms"),
                        None => break,
                    }
                }
                None if is_over => "nothing is left to happen before all is done".to_owned(),
                None if step + 1 == MOST_STEPS => {
                    self.shared.checker.finish(&self.shared.disk);
                    let open = self.shared.checker.violation().unwrap_or("something is left");
                    format!("it does not come to its end: {open}")
                }
                None => continue,
            };
            failure = Some(Failure { step, what });
            break;
        }
        let tally = self.shared.checker.tally;
        let Tally { published, acknowledged, duplicates, outputs, dead, .. } = tally;
        let counts = Counts {
            published,
            acknowledged,
            duplicates,
            outputs,
            dead,
            given: tally.given,
            confirmed: tally.confirmed,
            replayed: tally.replayed,
            passed: tally.passed,
            trimmed: tally.lost,
            torn: self.shared.disk.torn,
            ..self.counts
        };
        (Report { seed, counts, failure }, self.shared.story.unwrap_or_default())
    }

    /// Takes the next step. Says whether there was one.
    fn step(&mut self) -> bool {
        let Some(event) = self.shared.next() else { return false };
        match event {
            Event::Start if self.router.is_none() => {
                self.shared.tell(|| "the router starts".to_owned());
                self.router = Some(Router::start(&mut self.shared));
            }
            Event::Start => {}
            Event::Write => {
                if self.shared.disk.is_fenced() {
                    let refused = self.shared.disk.refuse_queue();
                    self.answer(refused);
                } else if self.shared.disk.write() {
                    self.shared.within(12, Event::Synced);
                }
            }
            // That of a router that is no more says nothing.
            Event::Synced if !self.shared.disk.is_writing() => {}
            Event::Synced => self.synced(),
            Event::Room => self.shared.disk.set_full(false),
            Event::Client(client) => self.client(client),
            Event::Arrive(connection, Side::Client) => {
                let client = self.shared.network.client(connection);
                let frame = self.shared.network.arrive(connection, Side::Client);
                let Some((client, Frame::ToClient(frame))) = client.zip(frame) else {
                    return true;
                };
                match client {
                    Client::Producer(index) => {
                        if let Some(producer) = self.producers.get_mut(index) {
                            producer.take(&mut self.shared, connection, frame);
                        }
                    }
                    Client::Member(index) => {
                        if let Some(member) = self.members.get_mut(index) {
                            member.take(&mut self.shared, connection, frame);
                        }
                    }
                }
            }
            Event::Lost(connection, Side::Client) => {
                let client = self.shared.network.client(connection);
                self.shared.network.close(connection, Side::Client);
                match client {
                    Some(Client::Producer(index)) => {
                        if let Some(producer) = self.producers.get_mut(index) {
                            producer.lost(&mut self.shared, connection);
                        }
                    }
                    Some(Client::Member(index)) => {
                        if let Some(member) = self.members.get_mut(index) {
                            member.lost(&mut self.shared, connection);
                        }
                    }
                    None => {}
                }
            }
            event => match &mut self.router {
                Some(router) => router.handle(&mut self.shared, &event),
                // Nobody is there who would hear of it.
                None => {
                    if let Event::Arrive(connection, _) | Event::Lost(connection, _) = event {
                        self.shared.network.arrive(connection, Side::Router);
                        self.shared.network.close(connection, Side::Router);
                        self.shared.lose(connection);
                    }
                }
            },
        }
        true
    }

    fn client(&mut self, client: Client) {
        match client {
            Client::Producer(index) => {
                if let Some(producer) = self.producers.get_mut(index) {
                    producer.work(&mut self.shared);
                }
            }
            Client::Member(index) => {
                if let Some(member) = self.members.get_mut(index) {
                    member.work(&mut self.shared);
                }
            }
        }
    }

    fn synced(&mut self) {
        let fails = !self.shared.is_calm && self.shared.random.chance(self.faults.sync_fails);
        let answers = if fails {
            self.shared.tell(|| "a sync fails".to_owned());
            self.shared.disk.fail(&mut self.shared.random)
        } else {
            self.shared.disk.synced()
        };
        self.look();
        self.answer(answers);
        if fails {
            // The process ends to recover at its next start.
            let refused = self.shared.disk.refuse_queue();
            self.answer(refused);
            return self.kill_router();
        }
        if let Some(router) = &mut self.router {
            router.wake(&mut self.shared);
        }
        self.shared.within(3, Event::Write);
    }

    fn answer(&mut self, answers: Vec<(crate::shared::Asking, crate::disk::Answer)>) {
        for (asking, answer) in answers {
            self.shared.tell(|| format!("storage: {asking:?}: {answer:?}"));
            if let Some(router) = &mut self.router {
                router.answer(&mut self.shared, asking, answer);
            }
        }
    }

    fn look(&mut self) {
        if self.looked_at != self.shared.disk.changes {
            (self.looked_at, self.changed_ms) = (self.shared.disk.changes, self.shared.now_ms);
            self.shared.checker.look(&self.shared.disk);
        }
    }

    /// Something may go wrong before the next step.
    fn fault(&mut self) {
        let Faults { router_dies, client_dies, connection_lost, overtaken, .. } = self.faults;
        let Faults { clock_jumps, disk_full, upkeep, trims, replays, .. } = self.faults;
        if self.shared.random.chance(router_dies) {
            self.kill_router();
        }
        if self.shared.random.chance(client_dies) {
            let index = self.shared.random.pick(self.producers.len() + self.members.len());
            match index.checked_sub(self.producers.len()) {
                Some(index) => self.kill_member(index),
                None => self.next_life(index, true),
            }
        }
        if self.shared.random.chance(overtaken) {
            let index = self.shared.random.pick(self.producers.len());
            self.next_life(index, false);
        }
        if self.shared.random.chance(connection_lost) {
            let alive = self.shared.network.alive();
            let picked = self.shared.random.pick(alive.len());
            if let Some(connection) = alive.get(picked) {
                self.counts.lost += 1;
                self.shared.lose(*connection);
            }
        }
        if self.shared.random.chance(clock_jumps) {
            let most = if self.shared.random.chance(300) { DECADE_MS } else { 60_000 };
            let by = i64::try_from(self.shared.random.within(0..2 * most)).unwrap_or(0);
            self.shared.skew_ms = by - i64::try_from(most).unwrap_or(0);
            let skew_ms = self.shared.skew_ms;
            self.shared.tell(|| format!("the wall's clock is {skew_ms} ms off"));
        }
        if self.shared.random.chance(disk_full) {
            self.shared.tell(|| "the disk is full".to_owned());
            self.shared.disk.set_full(true);
            self.shared.within(200, Event::Room);
        }
        if self.shared.random.chance(upkeep)
            && let Some(router) = &mut self.router
        {
            router.upkeep(&mut self.shared);
        }
        if self.shared.random.chance(trims) {
            self.trim();
        }
        if self.shared.random.chance(replays)
            && let Some(router) = &mut self.router
        {
            router.replay(&mut self.shared);
        }
    }

    /// Retention gives up the oldest outputs, whoever is to be given them still.
    fn trim(&mut self) {
        let keep = self.shared.random.within(5..40);
        let wall_ms = self.shared.wall_ms();
        self.shared.checker.look(&self.shared.disk);
        for partition in Layout::partitions(&self.shared.layout.outputs) {
            let before = self.shared.disk.bounds(&partition);
            self.shared.disk.trim(&partition, keep, wall_ms);
            let after = self.shared.disk.bounds(&partition);
            self.shared.tell(|| format!("{partition} is trimmed to {}", after.first));
            self.shared.checker.trimmed(&partition, keep, before, after);
        }
        if let Some(router) = &mut self.router {
            router.wake(&mut self.shared);
        }
    }

    fn kill_router(&mut self) {
        if self.router.take().is_none() {
            return;
        }
        self.counts.crashes += 1;
        self.shared.tell(|| "the router is killed".to_owned());
        self.shared.disk.crash(&mut self.shared.random);
        self.looked_at = self.shared.disk.changes;
        self.shared.checker.crashed(&self.shared.disk);
        for connection in self.shared.network.all() {
            self.shared.network.close(connection, Side::Router);
            self.shared.lose(connection);
        }
        self.shared.within(200, Event::Start);
    }

    fn kill_member(&mut self, index: usize) {
        if let Some(member) = self.members.get_mut(index) {
            self.shared.tell(|| format!("member {index} is killed"));
            member.crash(&mut self.shared);
        }
    }

    /// The next life of a producer begins, after this one was killed or beside it.
    fn next_life(&mut self, index: usize, is_killed: bool) {
        let next = self.producers.len();
        let Some(producer) = self.producers.get_mut(index) else { return };
        let (id, Epoch(epoch)) = producer.identity();
        if producer.is_finished() || producer.left() == 0 {
            return;
        }
        let mut left = producer.left();
        if is_killed {
            producer.take_left();
            producer.crash(&mut self.shared);
        } else {
            left = left.min(10);
        }
        // Another one may have been begun beside it already.
        let epochs = self.producers.iter().map(Producer::identity);
        let newest = epochs.filter(|(other, _)| *other == id).map(|(_, epoch)| epoch.0).max();
        let epoch = Epoch(newest.unwrap_or(epoch) + 1);
        self.shared.tell(|| format!("life {epoch} of producer {id} begins, as client {next}"));
        let partitions = self.shared.layout.source.partitions;
        self.producers.push(Producer::new(next, (id, epoch), left, partitions));
        self.shared.within(100, Event::Client(Client::Producer(next)));
    }

    /// From now on nothing goes wrong.
    fn calm(&mut self) {
        (self.shared.is_calm, self.shared.calm_since_ms) = (true, self.shared.now_ms);
        self.shared.tell(|| "nothing goes wrong any more".to_owned());
        self.shared.disk.set_full(false);
        if self.router.is_none() {
            self.shared.within(10, Event::Start);
        }
    }

    /// Whether everything has come to its end.
    fn is_done(&self) -> bool {
        let Some(router) = &self.router else { return false };
        self.producers.iter().all(Producer::is_finished)
            && router.is_idle(&self.shared)
            && self.shared.checker.is_group_done(&self.shared.disk)
    }
}
