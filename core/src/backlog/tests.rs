//! What a subscriber gets of what it was offered.

use proptest::{collection::vec, prelude::*};
use waypost_protocol::{BatchBuilder, Pattern};

use super::*;
use crate::TopicRules;

/// One rule of each kind, found by its name as a topic.
fn rule(on_full: OnFull) -> Option<Arc<TopicRule>> {
    let rule = |on_full: OnFull| TopicRule {
        pattern: Pattern::parse(on_full.name()).expect("a pattern"),
        on_full,
        block_max_ms: 1,
        ttl: None,
    };
    TopicRules::new(OnFull::ALL.map(rule).into()).of(on_full.name()).cloned()
}

fn batch(numbers: impl IntoIterator<Item = u32>) -> Batch {
    let mut builder = BatchBuilder::new();
    for number in numbers {
        builder.push("a", None, &[], number.to_string().as_bytes(), 0).expect("it fits");
    }
    builder.finish().expect("there are messages")
}

fn backlog(messages: usize) -> Backlog<()> {
    Backlog::new(QueueLimits { messages, bytes: 1 << 20 })
}

/// Offers messages; how many were dropped under which kind of rule, unless it is full.
fn offer(
    backlog: &mut Backlog<()>,
    on_full: OnFull,
    numbers: impl IntoIterator<Item = u32>,
) -> Option<Vec<(OnFull, usize)>> {
    let kind_of = |each: &Dropped| OnFull::ALL.into_iter().find(|kind| rule(*kind) == each.rule);
    match backlog.offer(batch(numbers), (), on_full, rule(on_full)) {
        Offered::Taken { dropped, .. } => {
            let known = |each: &Dropped| Some((kind_of(each)?, each.messages));
            Some(dropped.iter().filter_map(known).collect())
        }
        Offered::Full(..) => None,
    }
}

fn drain(backlog: &mut Backlog<()>) -> Vec<u32> {
    let taken = std::iter::from_fn(|| backlog.take());
    let numbers = |(batch, ()): (Batch, ())| {
        let parse = |payload: &[u8]| String::from_utf8_lossy(payload).parse().expect("a number");
        batch.iter().map(|message| parse(message.payload())).collect::<Vec<u32>>()
    };
    taken.flat_map(numbers).collect()
}

#[test]
fn what_blocks_is_given_back_and_nothing_is_dropped_for_it() {
    let mut backlog = backlog(3);
    assert_eq!(offer(&mut backlog, OnFull::DropOldest, 0..2), Some(vec![]));
    assert_eq!(offer(&mut backlog, OnFull::Block, 2..4), None);
    assert_eq!(offer(&mut backlog, OnFull::Block, 2..3), Some(vec![]));
    assert_eq!(drain(&mut backlog), [0, 1, 2]);
}

#[test]
fn of_the_newest_as_many_are_dropped_as_have_no_room() {
    let mut backlog = backlog(3);
    assert_eq!(offer(&mut backlog, OnFull::Block, 0..2), Some(vec![]));
    assert_eq!(offer(&mut backlog, OnFull::DropNewest, 2..5), Some(vec![(OnFull::DropNewest, 2)]));
    assert_eq!(offer(&mut backlog, OnFull::DropNewest, 5..6), Some(vec![(OnFull::DropNewest, 1)]));
    assert_eq!(drain(&mut backlog), [0, 1, 2]);
}

#[test]
fn of_the_oldest_no_more_are_dropped_than_make_room_and_only_what_may_be() {
    let mut backlog = backlog(6);
    assert_eq!(offer(&mut backlog, OnFull::Block, 0..1), Some(vec![]));
    assert_eq!(offer(&mut backlog, OnFull::DropOldest, 1..4), Some(vec![]));
    assert_eq!(offer(&mut backlog, OnFull::DropNewest, 4..5), Some(vec![]));
    assert_eq!(offer(&mut backlog, OnFull::DropOldest, 5..8), Some(vec![(OnFull::DropOldest, 2)]));
    assert_eq!(drain(&mut backlog), [0, 3, 4, 5, 6, 7]);
}

#[test]
fn the_newest_stay_of_more_than_there_is_room_for() {
    let mut backlog = backlog(3);
    assert_eq!(offer(&mut backlog, OnFull::Block, 0..2), Some(vec![]));
    assert_eq!(offer(&mut backlog, OnFull::DropOldest, 2..6), Some(vec![(OnFull::DropOldest, 3)]));
    assert_eq!(offer(&mut backlog, OnFull::DropOldest, 6..7), Some(vec![(OnFull::DropOldest, 1)]));
    assert_eq!(drain(&mut backlog), [0, 1, 6]);
}

#[test]
fn where_all_the_room_is_taken_by_what_must_stay_the_newest_are_dropped() {
    let mut backlog = backlog(2);
    assert_eq!(offer(&mut backlog, OnFull::Block, 0..2), Some(vec![]));
    assert_eq!(offer(&mut backlog, OnFull::DropOldest, 2..4), Some(vec![(OnFull::DropOldest, 2)]));
    assert_eq!(drain(&mut backlog), [0, 1]);
}

#[test]
fn a_batch_that_is_larger_than_the_bound_is_let_in_when_nothing_waits() {
    for on_full in OnFull::ALL {
        let mut backlog = backlog(2);
        assert_eq!(offer(&mut backlog, on_full, 0..5), Some(vec![]));
        assert_eq!(drain(&mut backlog), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn bytes_bound_it_as_well() {
    let bytes = batch([0]).byte_len() * 3;
    let mut backlog = Backlog::new(QueueLimits { messages: 1000, bytes });
    for number in 0..3 {
        assert_eq!(offer(&mut backlog, OnFull::DropOldest, [number]), Some(vec![]));
    }
    let one = Some(vec![(OnFull::DropOldest, 1)]);
    assert_eq!(offer(&mut backlog, OnFull::DropOldest, [3]), one);
    assert_eq!(offer(&mut backlog, OnFull::DropNewest, [4]), Some(vec![(OnFull::DropNewest, 1)]));
    assert_eq!(offer(&mut backlog, OnFull::Block, [5]), None);
    assert_eq!(drain(&mut backlog), [1, 2, 3]);
}

#[derive(Debug, Clone)]
enum Step {
    Offer(OnFull, u32),
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    let on_full = (0..OnFull::ALL.len()).prop_map(|index| OnFull::ALL[index]);
    prop_oneof![3 => (on_full, 1..6_u32).prop_map(|(on_full, count)| Step::Offer(on_full, count)), 1 => Just(Step::Take)]
}

proptest! {
    /// The model holds every message alone, with its kind.
    #[test]
    fn it_holds_what_a_line_of_single_messages_would(steps in vec(step(), 0..60)) {
        const LIMIT: usize = 8;
        let (mut backlog, mut model, mut next) = (backlog(LIMIT), Vec::new(), 0);
        let (mut offered, mut taken, mut dropped) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Take => {
                    let batch = backlog.take().map(|(batch, ())| batch);
                    let count = batch.as_ref().map_or(0, Batch::len);
                    let gone: Vec<(u32, OnFull)> = model.drain(..count).collect();
                    let payloads = batch.iter().flat_map(Batch::iter).map(|each| each.payload().to_vec());
                    let expected = gone.iter().map(|(number, _)| number.to_string().into_bytes());
                    prop_assert!(payloads.eq(expected));
                    prop_assert!(count > 0 || model.is_empty());
                    taken += count;
                }
                Step::Offer(on_full, count) => {
                    let numbers = next..next + count;
                    next += count;
                    let found = offer(&mut backlog, on_full, numbers.clone());
                    let has_room = model.len() + count as usize <= LIMIT;
                    if on_full == OnFull::Block && !has_room {
                        prop_assert_eq!(found, None);
                        continue;
                    }
                    offered += count as usize;
                    for number in numbers {
                        let oldest = model.iter().position(|(_, kind)| *kind == OnFull::DropOldest);
                        match (on_full, oldest) {
                            _ if model.len() < LIMIT => model.push((number, on_full)),
                            (OnFull::DropOldest, Some(oldest)) => {
                                model.remove(oldest);
                                model.push((number, on_full));
                            }
                            _ => {}
                        }
                    }
                    let sum: usize = found.into_iter().flatten().map(|(_, count)| count).sum();
                    dropped += sum;
                }
            }
            prop_assert_eq!(offered, taken + dropped + model.len());
            prop_assert_eq!(backlog.messages, model.len());
        }
        let left: Vec<u32> = model.into_iter().map(|(number, _)| number).collect();
        prop_assert_eq!(drain(&mut backlog), left);
        prop_assert_eq!((backlog.messages, backlog.bytes), (0, 0));
    }
}
