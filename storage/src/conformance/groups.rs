//! Groups: how far they came, with what failed.

use waypost_core::{FailedMessage, GroupName, GroupPosition, Ranges};
use waypost_protocol::{Offset, Pattern};

use super::read_from;
use crate::{
    AtomicScope, CommitError, GroupState, GroupStep, KeptGroup, Revision, Storage, Unit,
    testing::{append, partition},
};

fn group(name: &str) -> GroupName {
    GroupName::parse(name).expect("a valid name")
}

/// A group that came so far, with something done and something failed above.
fn state(floor: u64) -> GroupState {
    let failed = |offset, key| FailedMessage {
        offset: Offset(floor + offset),
        key,
        failures: 2,
        due_ms: 9_000,
        first_failure_ms: 1_000,
    };
    let done: Ranges = [3, 4, 5, 9].map(|offset| Offset(floor + offset)).into_iter().collect();
    let failed = vec![failed(0, Some(77)), failed(7, None)];
    let pattern = Pattern::parse("orders.>").expect("a valid pattern");
    GroupState { pattern, position: GroupPosition { floor: Offset(floor), done, failed } }
}

fn step(name: &str, index: u32, from: Option<u64>, to: Option<u64>) -> GroupStep {
    let from = from.map(Revision);
    GroupStep { group: group(name), source: partition(index), from, to: to.map(state) }
}

fn unit(groups: Vec<GroupStep>) -> Unit {
    Unit { groups, ..Unit::default() }
}

async fn kept(storage: &impl Storage, name: &str) -> Vec<KeptGroup> {
    storage.group(group(name)).await.expect("it is readable")
}

fn one(index: u32, revision: u64, floor: u64) -> KeptGroup {
    let (source, revision) = (partition(index), Revision(revision));
    KeptGroup { source, revision, state: state(floor) }
}

pub(super) async fn a_group_moves_with_its_dead_letters_or_not_at_all(storage: &impl Storage) {
    let letters = |text| Unit {
        appends: vec![append(1, 1, text, 0)],
        ..unit(vec![step("mailers", 0, Some(0), Some(7))])
    };
    storage.commit(unit(vec![step("mailers", 0, None, Some(5))])).await.expect("it is new");
    storage.commit(letters("dead")).await.expect("it is the stored revision");
    assert_eq!(kept(storage, "mailers").await, [one(0, 1, 7)]);
    let (group, partition) = (group("mailers"), partition(0));
    let (expected, stored) = (Some(Revision(0)), Some(Revision(1)));
    let moved = CommitError::GroupMoved { group, partition, expected, stored };
    assert_eq!(storage.commit(letters("again")).await, Err(moved));
    let new = storage.commit(unit(vec![step("mailers", 0, None, Some(0))])).await;
    assert!(matches!(new, Err(CommitError::GroupMoved { .. })), "{new:?}");
    if storage.promises().scope == AtomicScope::Store {
        let mut bad = letters("half");
        bad.groups = vec![step("mailers", 0, Some(1), Some(8))];
        bad.appends.push(crate::Append { partition: super::elsewhere(), ..append(0, 1, "x", 0) });
        storage.commit(bad).await.expect_err("one of its letters has no place");
        assert_eq!(kept(storage, "mailers").await, [one(0, 1, 7)]);
    }
    assert_eq!(read_from(storage, 1, 0).await.len(), 1, "only the step that moved wrote");
    let nowhere = GroupStep { source: super::elsewhere(), ..step("mailers", 0, None, Some(0)) };
    let refused = storage.commit(unit(vec![nowhere])).await;
    assert!(matches!(refused, Err(CommitError::UnknownPartition(_))), "{refused:?}");
}

pub(super) async fn what_is_kept_of_groups_is_found_by_name(storage: &impl Storage) {
    let steps = vec![
        step("mailers", 2, None, Some(1)),
        step("mail", 0, None, Some(2)),
        step("mailers", 0, None, Some(3)),
        step("zz", 1, None, Some(4)),
    ];
    storage.commit(unit(steps)).await.expect("they are new");
    let names = async || {
        let names = storage.groups().await.expect("they are readable");
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["mail", "mailers", "zz"]);
    assert_eq!(kept(storage, "mailers").await, [one(0, 0, 3), one(2, 0, 1)]);
    assert_eq!(kept(storage, "mail").await, [one(0, 0, 2)]);
    assert_eq!(kept(storage, "none").await, []);
    storage.commit(unit(vec![step("mail", 0, Some(0), None)])).await.expect("it is there");
    assert_eq!((names().await.len(), kept(storage, "mail").await.len()), (2, 0));
    storage.commit(unit(vec![step("mail", 0, None, Some(6))])).await.expect("it begins anew");
    assert_eq!(kept(storage, "mail").await, [one(0, 0, 6)]);
}

pub(super) async fn prepare(storage: &impl Storage) {
    let steps = vec![step("mailers", 0, None, Some(10)), step("gone", 1, None, Some(1))];
    storage.commit(unit(steps)).await.expect("they are new");
    storage.commit(unit(vec![step("gone", 1, Some(0), None)])).await.expect("it is there");
}

/// After `round` restarts before this one.
pub(super) async fn still_knows(storage: &impl Storage, round: u64) {
    assert_eq!(storage.groups().await, Ok(vec![group("mailers")]));
    assert_eq!(kept(storage, "mailers").await, [one(0, round, 10 + round)]);
    let moved = unit(vec![step("mailers", 0, Some(round), Some(11 + round))]);
    storage.commit(moved).await.expect("it is the stored revision");
}
