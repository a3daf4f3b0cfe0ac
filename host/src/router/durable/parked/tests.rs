//! What is parked, to the store and back.

use std::num::NonZeroU16;

use waypost_core::{
    BatchPolicy, BreakerPolicy, Destination, PluginName, RetryPolicy, RouteName, RouteStart,
    StageDefinition, StreamName,
};
use waypost_protocol::{BatchBuilder, Pattern};

use super::*;

fn stage(name: &str) -> StageName {
    StageName::parse(name).expect("a name")
}

fn route(stages: &[&str]) -> Arc<RouteDefinition> {
    let definition = |name: &&str| StageDefinition {
        name: stage(name),
        plugin: PluginName::parse("p").expect("a name"),
        configuration: "{}".into(),
    };
    Arc::new(RouteDefinition {
        name: RouteName::parse("r").expect("a name"),
        source: Pattern::parse("in.>").expect("a pattern"),
        start: RouteStart::End,
        stages: stages.iter().map(definition).collect(),
        destination: Destination::FromPlugin,
        lanes: NonZeroU16::MIN,
        batch: BatchPolicy::default(),
        breaker: BreakerPolicy::default(),
        retry: RetryPolicy::default(),
    })
}

fn parked(offset: u64, index: u32, attempts: u32) -> Parked {
    let mut builder = BatchBuilder::new();
    builder.push("in.a", Some(b"k"), &[], b"payload", 0).expect("it fits");
    let batch = builder.finish().expect("one message");
    let traces = vec![Trace { offset: Offset(offset), index }];
    Parked {
        batch: Traced::new(batch, traces).expect("one trace"),
        lineage: Lineage { ingest_ms: 5, hops: 3, is_letter: true },
        under: route(&["a", "b"]),
        attempts,
        first_failure_ms: (attempts > 0).then_some(7),
        error: "why".into(),
        id: None,
    }
}

fn kept() -> KeptParked {
    let source = Partition::new(StreamName::parse("orders").expect("a name"), 2);
    KeptParked::new(source, std::iter::empty())
}

fn id(offset: u64, stage: u16, index: u32) -> MessageId {
    MessageId { offset: Offset(offset), stage, index }
}

fn told(kept: &mut KeptParked, undone: Option<u64>) -> Vec<(MessageId, Option<u32>)> {
    let changes = kept.take(undone.map(Offset)).into_iter();
    changes.map(|change| (change.id, change.parked.map(|parked| parked.attempts))).collect()
}

#[test]
fn what_is_parked_comes_back_as_it_was() {
    let (mut kept, mut message) = (kept(), parked(70, 4, 2));
    kept.park(&mut message, &stage("b"), 1, 9_000);
    let stored: Vec<_> = kept.take(None).into_iter().filter_map(|change| change.parked).collect();
    assert_eq!(stored[0].envelope.stream.as_deref(), Some("orders"));
    let back = restored(stored, &route(&["a", "b"]));
    let [(name, again, due_ms)] = back.as_slice() else { panic!("one message") };
    assert_eq!((name, *due_ms), (&stage("b"), 9_000));
    assert_eq!((again.id, message.id), (Some(id(70, 1, 4)), Some(id(70, 1, 4))));
    assert_eq!(again.batch, message.batch);
    assert_eq!((again.lineage, again.attempts), (message.lineage, 2));
    assert_eq!((again.first_failure_ms, &*again.error), (Some(7), "why"));
}

#[test]
fn the_store_is_told_the_last_of_each_message_and_nothing_of_what_is_not_through() {
    let mut kept = kept();
    let (mut early, mut late) = (parked(1, 0, 1), parked(5, 0, 1));
    kept.park(&mut early, &stage("a"), 0, 0);
    kept.park(&mut late, &stage("a"), 0, 0);
    early.attempts = 2;
    kept.park(&mut early, &stage("a"), 0, 0);
    assert_eq!(told(&mut kept, Some(5)), [(id(1, 0, 0), Some(2))]);
    kept.unpark(id(1, 0, 0));
    assert_eq!(told(&mut kept, Some(5)), [(id(1, 0, 0), None)]);
    assert_eq!(told(&mut kept, None), [(id(5, 0, 0), Some(1))]);
    assert!(!kept.has_changes());
}

#[test]
fn no_two_messages_that_are_parked_have_one_identity() {
    let mut kept = kept();
    let mut twins = [parked(1, 3, 1), parked(1, 3, 1)];
    for twin in &mut twins {
        kept.park(twin, &stage("a"), 0, 0);
    }
    assert_eq!(twins.map(|twin| twin.id), [Some(id(1, 0, 3)), Some(id(1, 0, 4))]);
}

#[test]
fn they_come_back_in_the_order_of_the_partition() {
    let mut kept = kept();
    for (offset, index) in [(9, 0), (2, 1), (2, 0)] {
        kept.park(&mut parked(offset, index, 0), &stage("a"), 0, 0);
    }
    let stored = kept.take(None).into_iter().rev().filter_map(|change| change.parked).collect();
    let order = restored(stored, &route(&["a"])).into_iter().map(|(_, parked, _)| parked.id);
    assert_eq!(order.collect::<Vec<_>>(), [id(2, 0, 0), id(2, 0, 1), id(9, 0, 0)].map(Some));
}

#[test]
fn where_its_stage_is_gone_a_message_goes_to_the_one_in_its_place_as_if_untried() {
    let back = |stages: &[&str]| {
        let mut kept = kept();
        kept.park(&mut parked(1, 0, 3), &stage("b"), 1, 0);
        let stored = kept.take(None).into_iter().filter_map(|change| change.parked).collect();
        let mut back = restored(stored, &route(stages));
        let (name, parked, _) = back.remove(0);
        (name.as_str().to_owned(), parked.attempts)
    };
    assert_eq!(back(&["b", "c"]), ("b".to_owned(), 3));
    assert_eq!(back(&["a", "c"]), ("c".to_owned(), 0));
    assert_eq!(back(&["a"]), ("b".to_owned(), 3), "it is behind all stages that there are");
}
