//! Steps of routes: progress, outputs and parked messages.

use waypost_core::{RouteName, StageName};
use waypost_protocol::{Envelope, Offset};

use super::{read_from, store};
use crate::{
    AtomicScope, CommitError, KeptRoute, MessageId, Origin, ParkedMessage, Step, Storage, Unit,
    testing::{append, batch, partition},
};

fn route(name: &str) -> RouteName {
    RouteName::parse(name).expect("a valid name")
}

fn id(offset: u64, stage: u16, index: u32) -> MessageId {
    MessageId { offset: Offset(offset), stage, index }
}

/// A step of the route `quakes` through partition 0.
fn step(from: Option<u64>, to: u64) -> Step {
    Step {
        route: route("quakes"),
        source: partition(0),
        from: from.map(Offset),
        to: Offset(to),
        park: Vec::new(),
        unpark: Vec::new(),
    }
}

fn parked(id: MessageId, attempts: u32) -> ParkedMessage {
    ParkedMessage {
        id,
        stage: StageName::parse("keep").expect("a valid name"),
        attempts,
        due_ms: 1_000 + u64::from(attempts),
        first_failure_ms: (attempts > 0).then_some(900),
        error: "not yet".into(),
        envelope: Envelope { ingest_ms: 5, hops: 1, ..Envelope::default() },
        is_letter: attempts > 1,
        batch: batch(1, "parked"),
    }
}

async fn progress(storage: &impl Storage, name: &str, index: u32) -> Option<u64> {
    let progress = storage.progress(route(name), partition(index)).await;
    progress.expect("it is readable").map(|offset| offset.0)
}

pub(super) async fn progress_moves_with_its_outputs_or_not_at_all(storage: &impl Storage) {
    store(storage, append(0, 4, "input", 0)).await;
    assert_eq!(progress(storage, "quakes", 0).await, None);
    let output = |stage, text| {
        let messages = vec![id(0, stage, 0)];
        let origin = Origin { route: route("quakes"), source: partition(0), messages };
        crate::Append { origin: Some(origin), ..append(1, 1, text, 0) }
    };
    let unit =
        |step, text| Unit { appends: vec![output(1, text)], step: Some(step), ..Unit::default() };
    storage.commit(unit(step(None, 2), "one")).await.expect("it is the first step");
    assert_eq!(progress(storage, "quakes", 0).await, Some(2));
    let moved = storage.commit(unit(step(None, 3), "again")).await;
    let (expected, stored) = (None, Some(Offset(2)));
    let partition = partition(0);
    assert_eq!(moved, Err(CommitError::ProgressMoved { partition, expected, stored }));
    let back = storage.commit(unit(step(Some(2), 1), "back")).await;
    assert!(matches!(back, Err(CommitError::ProgressBack { .. })), "{back:?}");
    if storage.promises().scope == AtomicScope::Store {
        let mut bad = unit(step(Some(2), 4), "half");
        bad.appends.push(crate::Append { partition: super::elsewhere(), ..append(0, 1, "x", 0) });
        storage.commit(bad).await.expect_err("one of its outputs has no place");
        assert_eq!(progress(storage, "quakes", 0).await, Some(2));
    }
    assert_eq!(read_from(storage, 1, 0).await.len(), 1, "only the step that moved wrote");
    assert_eq!(progress(storage, "quakes", 1).await, None, "partitions count apart");
    assert_eq!(progress(storage, "quake", 0).await, None, "and so do routes");
}

pub(super) async fn parked_messages_come_back_whole_and_in_order(storage: &impl Storage) {
    let all = [parked(id(3, 0, 0), 1), parked(id(3, 1, 0), 0), parked(id(300, 0, 2), 4)];
    let [first, second, third] = all.clone();
    let park = vec![third.clone(), first.clone(), second.clone()];
    let commit = async |step| {
        let committed = storage.commit(Unit { step: Some(step), ..Unit::default() }).await;
        committed.expect("the progress is the expected one")
    };
    let found =
        async |name| storage.parked(route(name), partition(0)).await.expect("it is readable");
    commit(Step { park, ..step(None, 301) }).await;
    assert_eq!(found("quakes").await, all);
    assert_eq!(found("quake").await, []);
    let again = ParkedMessage { attempts: 2, due_ms: 9_000, ..first };
    let unpark = vec![third.id, id(9, 9, 9)];
    commit(Step { park: vec![again.clone()], unpark, ..step(Some(301), 301) }).await;
    assert_eq!(found("quakes").await, [again, second]);
}

pub(super) async fn a_route_that_is_forgotten_leaves_nothing(storage: &impl Storage) {
    let commit = async |step| {
        let committed = storage.commit(Unit { step: Some(step), ..Unit::default() }).await;
        committed.expect("the progress is the expected one")
    };
    let park = vec![parked(id(3, 0, 0), 1), parked(id(4, 0, 0), 0)];
    commit(Step { park, ..step(None, 5) }).await;
    commit(Step { source: partition(2), ..step(None, 9) }).await;
    let park = vec![parked(id(1, 0, 0), 1)];
    commit(Step { route: route("quake"), park, ..step(None, 2) }).await;
    let kept = |name, index, progress, parked| KeptRoute {
        route: route(name),
        source: partition(index),
        progress: Offset(progress),
        parked,
    };
    let other = kept("quake", 0, 2, 1);
    let own = vec![kept("quakes", 0, 5, 2), kept("quakes", 2, 9, 0)];
    let all = [vec![other.clone()], own.clone()].concat();
    assert_eq!(storage.routes().await, Ok(all));
    assert_eq!(storage.forget_route(route("quakes")).await, Ok(own));
    assert_eq!(storage.routes().await, Ok(vec![other.clone()]));
    assert_eq!(storage.forget_route(route("quakes")).await, Ok(vec![]), "it is not kept");
    assert_eq!(progress(storage, "quakes", 0).await, None);
    assert_eq!(storage.parked(route("quakes"), partition(0)).await, Ok(vec![]));
    commit(step(None, 1)).await;
    assert_eq!(progress(storage, "quakes", 0).await, Some(1), "it may begin anew");
    assert_eq!(storage.parked(route("quake"), partition(0)).await.map(|it| it.len()), Ok(1));
}

pub(super) async fn prepare(storage: &impl Storage) {
    store(storage, append(0, 40, "input", 0)).await;
    let park = vec![parked(id(1, 0, 0), 1)];
    let unit = Unit { step: Some(Step { park, ..step(None, 10) }), ..Unit::default() };
    storage.commit(unit).await.expect("it is the first step");
}

/// After `round` restarts before this one.
pub(super) async fn still_knows(storage: &impl Storage, round: u64) {
    assert_eq!(progress(storage, "quakes", 0).await, Some(10 + round));
    let found = storage.parked(route("quakes"), partition(0)).await;
    assert_eq!(found, Ok(vec![parked(id(1, 0, 0), 1)]));
    let unit = Unit { step: Some(step(Some(10 + round), 11 + round)), ..Unit::default() };
    storage.commit(unit).await.expect("the progress is the expected one");
}
