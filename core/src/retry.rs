//! When a message is tried again, and who waits for it meanwhile.
//!
//! A message that is to be tried again is parked with its key: later messages with the same key that come
//! to the same stage wait behind it, so that the order of a key holds; other keys go on. Messages without a
//! key are parked alone. Time is an argument, in milliseconds of a clock that does not go back; the jitter
//! is one too.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// A plugin may ask for no longer a wait than a day.
const LONGEST_ASKED_MS: u64 = 86_400_000;

/// How a route tries messages again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a message is tried in all, at least once.
    pub attempts: u32,
    /// The wait before the second attempt, in milliseconds; it doubles with each further one. What is waited
    /// is drawn between nothing and this (full jitter).
    pub first_ms: u32,
    /// The wait at most.
    pub max_ms: u32,
    /// Messages that may be parked in a lane. At the bound it takes nothing new.
    pub parked_messages: u32,
    /// Their bytes.
    pub parked_bytes: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_ms: 200,
            max_ms: 60_000,
            parked_messages: 10_000,
            parked_bytes: 16 << 20,
        }
    }
}

impl RetryPolicy {
    /// The wait after so many attempts, at least `asked_ms` up to a day. `random` is drawn uniformly.
    #[must_use]
    pub fn delay_ms(&self, attempts: u32, asked_ms: u64, random: u64) -> u64 {
        let doublings = attempts.saturating_sub(1).min(32);
        let most = (u64::from(self.first_ms) << doublings).min(u64::from(self.max_ms));
        (random % (most + 1)).max(asked_ms.min(LONGEST_ASKED_MS))
    }

    /// The longest wait that can come of it.
    #[must_use]
    pub fn longest_ms(&self) -> u64 {
        u64::from(self.max_ms).max(LONGEST_ASKED_MS)
    }
}

/// What is parked: at a stage of the route, under a key or alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    stage: usize,
    key: Key,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Of(Vec<u8>),
    /// A message without a key; the number tells it from others.
    None(u64),
}

/// The parked messages of one lane.
#[derive(Debug)]
pub struct Parking<T> {
    queues: HashMap<Place, VecDeque<Parked<T>>>,
    /// The first of each queue that is not being tried, by when it is due.
    due: BTreeMap<(u64, u64), Place>,
    messages: usize,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Parked<T> {
    item: T,
    bytes: usize,
}

impl<T> Default for Parking<T> {
    fn default() -> Self {
        Self { queues: HashMap::new(), due: BTreeMap::new(), messages: 0, bytes: 0, next: 0 }
    }
}

impl<T> Parking<T> {
    /// Whether nothing is parked or being tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Messages that are parked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether nothing more may come.
    #[must_use]
    pub fn is_full(&self, policy: &RetryPolicy) -> bool {
        self.messages >= policy.parked_messages as usize
            || self.bytes >= policy.parked_bytes as usize
    }

    /// Whether not even what is on its way may be parked any more: at twice the bounds. It gets there when
    /// batches come that a lane may not leave waiting.
    #[must_use]
    pub fn is_over(&self, policy: &RetryPolicy) -> bool {
        self.messages / 2 >= policy.parked_messages as usize
            || self.bytes / 2 >= policy.parked_bytes as usize
    }

    /// Whether a message with this key must wait at this stage.
    #[must_use]
    pub fn holds(&self, stage: usize, key: Option<&[u8]>) -> bool {
        let Some(key) = key else {
            return false;
        };
        !self.queues.is_empty()
            && self.queues.contains_key(&Place { stage, key: Key::Of(key.to_vec()) })
    }

    /// Parks a message that nobody waits for yet; it is due at `due_ms`.
    pub fn park(&mut self, stage: usize, key: Option<&[u8]>, item: T, bytes: usize, due_ms: u64) {
        let number = self.number();
        let key = key.map_or(Key::None(number), |key| Key::Of(key.to_vec()));
        self.park_first(Place { stage, key }, item, bytes, due_ms);
    }

    /// Puts a message behind those with its key. Where none is parked any more, it is due at once.
    pub fn follow(&mut self, stage: usize, key: &[u8], item: T, bytes: usize) {
        let place = Place { stage, key: Key::Of(key.to_vec()) };
        if !self.queues.contains_key(&place) {
            let number = self.number();
            self.due.insert((0, number), place.clone());
        }
        self.queues.entry(place).or_default().push_back(Parked { item, bytes });
        self.messages += 1;
        self.bytes += bytes;
    }

    /// Parks a message again that was [taken](Self::take_due), before all that wait for it.
    pub fn park_first(&mut self, place: Place, item: T, bytes: usize, due_ms: u64) {
        let number = self.number();
        self.queues.entry(place.clone()).or_default().push_front(Parked { item, bytes });
        self.due.insert((due_ms, number), place);
        self.messages += 1;
        self.bytes += bytes;
    }

    /// When the next message is due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.keys().next().map(|(due_ms, _)| *due_ms)
    }

    /// A message that is due. Those behind it wait until it is [settled](Self::settled) or parked again.
    pub fn take_due(&mut self, now_ms: u64) -> Option<(Place, T)> {
        if self.next_due_ms()? > now_ms {
            return None;
        }
        let (_, place) = self.due.pop_first()?;
        let parked = self.queues.get_mut(&place)?.pop_front()?;
        self.messages -= 1;
        self.bytes -= parked.bytes;
        Some((place, parked.item))
    }

    /// Whether something waits at a stage.
    #[must_use]
    pub fn waits_at(&self, stage: usize) -> bool {
        self.queues.iter().any(|(place, queue)| place.stage == stage && !queue.is_empty())
    }

    /// Lets what waits at a stage be due at this time instead.
    pub fn hasten(&mut self, stage: usize, to_ms: u64) {
        let hasten = |((due_ms, number), place): ((u64, u64), Place)| {
            ((if place.stage == stage { to_ms } else { due_ms }, number), place)
        };
        self.due = std::mem::take(&mut self.due).into_iter().map(hasten).collect();
    }

    /// What was taken from this place has gone on, or ended: the next one behind it is due.
    pub fn settled(&mut self, place: Place, now_ms: u64) {
        if self.queues.get(&place).is_some_and(|queue| !queue.is_empty()) {
            let number = self.number();
            self.due.insert((now_ms, number), place);
        } else {
            self.queues.remove(&place);
        }
    }

    /// Everything that is parked, each queue in its order.
    pub fn drain(&mut self) -> Vec<(usize, T)> {
        let queues = std::mem::take(self).queues;
        queues
            .into_iter()
            .flat_map(|(place, queue)| {
                queue.into_iter().map(move |parked| (place.stage, parked.item))
            })
            .collect()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Place {
    /// The stage where it waits.
    #[must_use]
    pub fn stage(&self) -> usize {
        self.stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hastened_is_due_before_the_rest_and_keeps_its_order() {
        let mut parking = Parking::default();
        parking.park(0, Some(b"k"), "first", 1, 700);
        parking.follow(0, b"k", "second", 1);
        parking.park(1, None, "other", 1, 500);
        parking.hasten(0, 3);
        assert!(parking.waits_at(0) && parking.waits_at(1) && !parking.waits_at(2));
        assert_eq!(parking.next_due_ms(), Some(3));
        let (place, taken) = parking.take_due(3).expect("it is due");
        assert_eq!(taken, "first");
        parking.settled(place, 3);
        assert_eq!(parking.take_due(3).map(|(_, taken)| taken), Some("second"));
        assert_eq!(parking.take_due(499), None, "the other one is not");
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_is_never_less_than_asked() {
        let policy = RetryPolicy { first_ms: 100, max_ms: 1000, ..RetryPolicy::default() };
        let most = |attempts| {
            let drawn = (0..2000).map(|random| policy.delay_ms(attempts, 0, random));
            drawn.max()
        };
        assert_eq!([1, 2, 3, 4, 5, 99].map(most), [100, 200, 400, 800, 1000, 1000].map(Some));
        assert_eq!(policy.delay_ms(1, 0, 101), 0, "full jitter begins at nothing");
        assert_eq!(policy.delay_ms(1, 5000, 3), 5000);
        assert_eq!(policy.delay_ms(1, u64::MAX, 3), 86_400_000);
        assert!(policy.delay_ms(u32::MAX, 0, u64::MAX) <= 1000);
    }

    #[test]
    fn a_key_waits_behind_its_first_message_and_others_go_on() {
        let mut parking = Parking::default();
        assert!(!parking.holds(0, Some(b"a")));
        parking.park(0, Some(b"a"), 1, 10, 50);
        assert!(parking.holds(0, Some(b"a")) && !parking.holds(0, Some(b"b")));
        assert!(!parking.holds(1, Some(b"a")), "another stage is another queue");
        assert!(!parking.holds(0, None));
        parking.follow(0, b"a", 2, 10);
        parking.follow(0, b"a", 3, 10);
        assert_eq!((parking.len(), parking.next_due_ms()), (3, Some(50)));
        assert!(parking.take_due(49).is_none());
        let (place, first) = parking.take_due(50).expect("it is due");
        assert_eq!((first, place.stage()), (1, 0));
        assert!(parking.take_due(1000).is_none(), "the others wait for it");
        parking.park_first(place, first, 10, 80);
        let (place, again) = parking.take_due(80).expect("it is due again");
        assert_eq!(again, 1);
        assert!(parking.holds(0, Some(b"a")), "while it is tried");
        parking.settled(place, 90);
        for expected in [2, 3] {
            let (place, next) = parking.take_due(90).expect("the next one");
            assert_eq!(next, expected);
            parking.settled(place, 90);
        }
        assert!(parking.is_empty() && !parking.holds(0, Some(b"a")));
    }

    #[test]
    fn who_follows_a_message_that_was_given_up_on_is_due_at_once() {
        let mut parking = Parking::default();
        parking.follow(0, b"a", 1, 10);
        parking.follow(0, b"a", 2, 10);
        for expected in [1, 2] {
            let (place, item) = parking.take_due(0).expect("it is due");
            assert_eq!(item, expected);
            parking.settled(place, 0);
        }
        assert!(parking.is_empty());
    }

    #[test]
    fn messages_without_a_key_are_parked_alone() {
        let mut parking = Parking::default();
        parking.park(2, None, "late", 1, 20);
        parking.park(2, None, "early", 1, 10);
        let (early, item) = parking.take_due(30).expect("both are due");
        assert_eq!(item, "early");
        let (late, item) = parking.take_due(30).expect("it waits for nobody");
        assert_eq!(item, "late");
        parking.settled(early, 30);
        parking.settled(late, 30);
        assert!(parking.is_empty());
    }

    #[test]
    fn it_is_full_at_either_bound() {
        let policy =
            RetryPolicy { parked_messages: 2, parked_bytes: 100, ..RetryPolicy::default() };
        let mut parking = Parking::default();
        parking.park(0, None, (), 10, 0);
        assert!(!parking.is_full(&policy));
        parking.park(0, None, (), 10, 0);
        assert!(parking.is_full(&policy));
        let (place, ()) = parking.take_due(0).expect("it is due");
        parking.settled(place, 0);
        parking.park(0, None, (), 90, 0);
        assert!(parking.is_full(&policy));
        assert!(!parking.is_over(&policy));
        parking.park(0, None, (), 110, 0);
        assert!(parking.is_over(&policy));
        assert_eq!(parking.drain().len(), 3);
        assert!(parking.is_empty() && !parking.is_full(&policy));
    }
}
