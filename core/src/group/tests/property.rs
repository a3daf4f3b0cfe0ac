//! Any sequence of events, against what was published and done.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::Credit;

#[derive(Debug, Clone)]
enum Step {
    Join(u64),
    Leave(u64, bool),
    Publish(usize, Option<u64>),
    /// Reads on in a partition, by at most so many messages.
    Read(usize, usize),
    /// Follows an offer with at most so many messages.
    Give(usize),
    /// What becomes of one of the leases that are out: which of its messages, and what is said of it.
    Settle(usize, usize, u8),
    Pass(u64),
    /// The router ends and starts anew.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (1..6_u64).prop_map(Step::Join),
        1 => (1..6_u64, any::<bool>()).prop_map(|(member, lost)| Step::Leave(member, lost)),
        8 => (0..4_usize, prop::option::of(0..3_u64))
            .prop_map(|(partition, key)| Step::Publish(partition, key)),
        8 => (0..4_usize, 1..4_usize).prop_map(|(partition, most)| Step::Read(partition, most)),
        8 => (1..4_usize).prop_map(Step::Give),
        8 => (any::<usize>(), any::<usize>(), 0..6_u8)
            .prop_map(|(lease, message, verb)| Step::Settle(lease, message, verb)),
        2 => (1..1500_u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..150)
}

/// What a group is, told naively: what was published, what is done, and who holds what.
struct Model {
    crew: Crew,
    is_shared: bool,
    now_ms: u64,
    published: Vec<Vec<Option<u64>>>,
    done: Vec<BTreeSet<u64>>,
    dead: usize,
    members: BTreeSet<u64>,
    /// The next number of a member, as they are never used again.
    leases: BTreeMap<u64, (MemberId, usize, Vec<u64>)>,
    next: u64,
}

impl Model {
    fn new(is_shared: bool) -> Self {
        let partitions = if is_shared { 1 } else { 4 };
        let mut model = Self {
            crew: Crew::new(is_shared, 10, vec![]),
            is_shared,
            now_ms: 1000,
            published: vec![vec![]; partitions],
            done: vec![BTreeSet::new(); partitions],
            dead: 0,
            members: BTreeSet::new(),
            leases: BTreeMap::new(),
            next: 10,
        };
        model.restart(vec![GroupPosition::default(); partitions]);
        model
    }

    fn restart(&mut self, positions: Vec<GroupPosition>) {
        let ledgers = positions.into_iter().map(|position| {
            assert!(position.is_sound());
            GroupLedger::new(policy(), self.is_shared, position, self.now_ms)
        });
        self.crew = Crew::new(self.is_shared, 10, ledgers.collect());
        self.members.clear();
        self.leases.clear();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join(member) => {
                if self.members.insert(member) {
                    let joined = self.crew.join(MemberId(member), 5, Credit::new(1000, 1 << 20));
                    joined.expect("there is room");
                }
            }
            Step::Leave(member, lost) => {
                self.members.remove(&member);
                let cause = lost.then_some(Cause::Lost);
                self.crew.leave(MemberId(member), cause.as_ref(), self.now_ms);
                self.leases.retain(|_, (owner, ..)| owner.0 != member);
            }
            Step::Publish(partition, key) => {
                let partition = partition % self.published.len();
                self.published[partition].push(key);
            }
            Step::Read(partition, most) => self.read(partition % self.published.len(), most),
            Step::Give(most) => self.give(most),
            Step::Settle(lease, chosen, verb) => {
                if !self.leases.is_empty() {
                    let (lease, (member, partition, offsets)) =
                        self.leases.iter().nth(lease % self.leases.len()).expect("it is there");
                    let (lease, member) = (LeaseId(*lease), *member);
                    let offset = offsets[chosen % offsets.len()];
                    self.settle(lease, member, *partition, offset, verb);
                }
            }
            Step::Pass(ms) => {
                self.now_ms += ms;
                self.crew.handle_timers(self.now_ms);
                for member in self.members.clone() {
                    self.crew.heard_of(MemberId(member));
                }
            }
            Step::Restart => {
                let ledgers = (0..self.published.len()).filter_map(|each| self.crew.ledger(each));
                self.restart(ledgers.map(|ledger| ledger.position(&[])).collect());
            }
        }
        self.bury();
        self.check();
    }

    fn read(&mut self, partition: usize, most: usize) {
        let published = &self.published[partition];
        self.crew.with_ledger(partition, |ledger| {
            let from = usize_of(ledger.cursor().0);
            for (offset, key) in (0..).zip(published).skip(from).take(most) {
                ledger.admit(message(offset, *key));
            }
        });
        self.crew.look_again(partition);
    }

    fn give(&mut self, most: usize) {
        let Some(offer) = self.crew.poll_offer(self.now_ms) else { return };
        assert!(self.members.contains(&offer.member.0), "who is given something is there");
        let all = (Offset(0), Offset(u64::MAX));
        let now_ms = self.now_ms;
        let candidates = self.crew.with_ledger(offer.partition, |ledger| {
            ledger.candidates(offer.member, now_ms, all, most.min(offer.messages))
        });
        let offsets: Vec<Offset> =
            candidates.expect("there is such a partition").iter().map(|each| each.offset).collect();
        assert_eq!(offsets.first(), Some(&offer.offset));
        for offset in &offsets {
            assert!(!self.done[offer.partition].contains(&offset.0), "{offset} is done");
        }
        self.next += 1;
        let given = self.crew.lease(LeaseId(self.next), &offer, &offsets, 1, now_ms);
        assert_eq!(given, offsets.len());
        let offsets = offsets.into_iter().map(|offset| offset.0).collect();
        self.leases.insert(self.next, (offer.member, offer.partition, offsets));
        self.crew.look_again(offer.partition);
    }

    fn settle(
        &mut self,
        lease: LeaseId,
        member: MemberId,
        partition: usize,
        offset: u64,
        verb: u8,
    ) {
        let of = range(offset, offset);
        let (now_ms, random) = (self.now_ms, u64::from(verb) * 77);
        let settled = match verb {
            0 => self.crew.settle_through(member, lease, Offset(offset)),
            1 => {
                let verb = Verb::Nack { delay_ms: None };
                self.crew.settle(member, lease, of, &verb, now_ms, random)
            }
            2 => {
                let verb = Verb::Reject { reason: String::new() };
                self.crew.settle(member, lease, of, &verb, now_ms, random)
            }
            3 => self.crew.extend(member, lease, None, now_ms).map(|()| (partition, 0)),
            _ => self.crew.settle(member, lease, of, &Verb::Ack, now_ms, random),
        };
        // A lease may have ended by its time, or because all of it is settled.
        if let Ok((_, count)) = settled {
            let up_to = if verb == 0 { 0 } else { offset };
            if verb == 0 || (verb > 3 && count > 0) {
                let held = self
                    .leases
                    .values()
                    .filter(|(owner, of, _)| (*owner, *of) == (member, partition));
                let held: BTreeSet<u64> = held.flat_map(|(.., offsets)| offsets.clone()).collect();
                let ledger = self.crew.ledger(partition).expect("there is such a partition");
                let position = ledger.position(&[]);
                let is_done =
                    |each: u64| each < position.floor.0 || position.done.contains(Offset(each));
                self.done[partition]
                    .extend(held.range(up_to..=offset).copied().filter(|each| is_done(*each)));
            }
        }
    }

    fn bury(&mut self) {
        for partition in 0..self.published.len() {
            let ledger = self.crew.ledger(partition).expect("there is such a partition");
            let dead: Vec<Offset> = ledger.dead().map(|dead| dead.offset).collect();
            self.dead += dead.len();
            self.done[partition].extend(dead.iter().map(|offset| offset.0));
            self.crew.with_ledger(partition, |ledger| ledger.buried(&dead));
        }
    }

    fn check(&self) {
        let mut held = 0;
        for (partition, published) in self.published.iter().enumerate() {
            let ledger = self.crew.ledger(partition).expect("there is such a partition");
            let undone = published.len() - self.done[partition].len();
            assert_eq!(usize_of(ledger.lag(Offset(published.len() as u64))), undone);
            let known = ledger.held() + ledger.waiting();
            assert!(known <= undone, "what is held or waits is not done");
            if usize_of(ledger.cursor().0) == published.len() {
                assert_eq!(known, undone, "each that was read is held or waits");
            }
            held += ledger.held();
        }
        assert_eq!(self.crew.members().map(|stand| stand.held).sum::<usize>(), held);
        assert!(self.crew.members().all(|stand| stand.held <= stand.max_in_flight));
    }

    /// Everything is acknowledged in the end, whatever happened before.
    fn drain(&mut self) {
        self.step(Step::Join(9));
        (0..self.published.len()).for_each(|each| self.read(each, usize::MAX));
        for _ in 0..10_000 {
            self.step(Step::Give(9));
            let acks: Vec<_> = self.leases.iter().map(|(id, lease)| (*id, lease.clone())).collect();
            for (lease, (member, partition, offsets)) in acks {
                for offset in offsets {
                    self.settle(LeaseId(lease), member, partition, offset, 5);
                }
                self.leases.remove(&lease);
            }
            if self.published.iter().zip(&self.done).all(|(all, done)| all.len() == done.len()) {
                return;
            }
            self.step(Step::Pass(100));
        }
        panic!("something is never given out");
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("it is small")
}

proptest! {
    #[test]
    fn whatever_happens_each_message_is_done_once_and_none_is_lost(
        is_shared in any::<bool>(), steps in steps(),
    ) {
        let mut model = Model::new(is_shared);
        for step in steps {
            model.step(step);
        }
        model.drain();
    }
}
