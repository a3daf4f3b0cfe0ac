//! Moves positions back that stand behind the end of their partition.
//!
//! Where loss was accepted a position may have been written into a table while the batches that it had passed were lost
//! with the journal. The offsets are then given anew to other messages, which a route or a group in that place would
//! pass over.

use std::collections::HashMap;

use bytes::Bytes;
use waypost_core::{GroupName, GroupPosition, OffsetRange, Partition, Ranges};
use waypost_protocol::Offset;

use super::{
    keys::PartitionKey,
    records,
    store::{Changes, Space, Store},
};
use crate::{MovedBack, Reader, Revision, ledger::Ledger};

/// Moves each such position to the end, on disk and in the ledger, and tells which those were.
pub(super) fn move_back(store: &Store, ledger: &mut Ledger) -> Result<Vec<MovedBack>, String> {
    let (mut moved, mut changes) = (Vec::new(), Changes::new());
    let streams = &ledger.streams;
    let ends = ledger.places.iter().map(|(partition, place)| {
        let stream = streams.get(&partition.stream).map_or(0, |record| record.number);
        let key = PartitionKey { stream, partition: partition.index.0 };
        (partition.clone(), (key, place.bounds.next))
    });
    let ends: HashMap<Partition, (PartitionKey, Offset)> = ends.collect();
    for ((route, source), progress) in &mut ledger.progress {
        let Some(&(key, to)) = ends.get(source).filter(|(_, end)| end < progress) else { continue };
        let from = std::mem::replace(progress, to);
        let value = Bytes::copy_from_slice(&to.0.to_be_bytes());
        changes.insert((Space::State, key.progress(route)), Some(value));
        let reader = Reader::Route(route.clone());
        moved.push(MovedBack { reader, source: source.clone(), from, to });
    }
    let by_key: HashMap<PartitionKey, (&Partition, Offset)> =
        ends.iter().map(|(partition, (key, end))| (*key, (partition, *end))).collect();
    let mut names: Vec<GroupName> = ledger.groups.keys().map(|(group, _)| group.clone()).collect();
    names.dedup();
    for group in names {
        let kept = store.group(&group).map_err(|error| error.to_string())?;
        for (key, revision, mut state) in kept {
            let Some(&(source, to)) = by_key.get(&key) else { continue };
            let Some(from) = cut(&mut state.position, to) else { continue };
            let next = Revision(revision.0.saturating_add(1));
            let value = records::encode_group(next, &state);
            changes.insert((Space::State, key.group(&group)), Some(value.into()));
            ledger.groups.insert((group.clone(), source.clone()), next);
            let reader = Reader::Group(group.clone());
            moved.push(MovedBack { reader, source: source.clone(), from, to });
        }
    }
    if !changes.is_empty() {
        store.commit(changes, true).map_err(|error| error.to_string())?;
    }
    moved.sort_by_key(|moved| (moved.source.clone(), moved.reader.to_string()));
    Ok(moved)
}

/// Cuts what a position says of messages from an end on, and gives how far it went, if it did.
fn cut(position: &mut GroupPosition, end: Offset) -> Option<Offset> {
    let behind = |offset: Offset| Offset(offset.0.saturating_add(1));
    let failed = position.failed.last().map(|failed| behind(failed.offset));
    let reached = [Some(position.floor), position.done.last().map(behind), failed];
    let reached = reached.into_iter().flatten().max().filter(|reached| *reached > end)?;
    position.floor = position.floor.min(end);
    position.failed.retain(|failed| failed.offset < end);
    let last = Offset(end.0.saturating_sub(1));
    let kept = position.done.iter().filter(|range| range.first < end);
    let kept = kept.map(|range| OffsetRange { first: range.first, last: range.last.min(last) });
    position.done = Ranges::restore(kept).unwrap_or_default();
    Some(reached)
}

#[cfg(test)]
mod tests {
    use waypost_core::FailedMessage;

    use super::*;

    fn position(floor: u64, done: &[u64], failed: &[u64]) -> GroupPosition {
        let failed = failed.iter().map(|offset| FailedMessage {
            offset: Offset(*offset),
            key: None,
            failures: 1,
            due_ms: 0,
            first_failure_ms: 0,
        });
        let done = done.iter().copied().map(Offset).collect();
        GroupPosition { floor: Offset(floor), done, failed: failed.collect() }
    }

    #[test]
    fn nothing_is_said_of_what_is_not_there() {
        let check = |mut found: GroupPosition, end, reached: Option<u64>, left: GroupPosition| {
            assert_eq!(cut(&mut found, Offset(end)).map(|reached| reached.0), reached);
            assert_eq!(found, left);
            assert!(found.is_sound());
        };
        let whole = || position(3, &[5, 6, 7, 9], &[4, 8]);
        check(whole(), 10, None, whole());
        check(whole(), 9, Some(10), position(3, &[5, 6, 7], &[4, 8]));
        check(whole(), 7, Some(10), position(3, &[5, 6], &[4]));
        check(whole(), 4, Some(10), position(3, &[], &[]));
        check(whole(), 2, Some(10), position(2, &[], &[]));
        check(position(3, &[], &[]), 0, Some(3), position(0, &[], &[]));
    }
}
