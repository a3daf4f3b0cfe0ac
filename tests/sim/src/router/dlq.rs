//! The operator who replays dead letters, as the host's `Dlq` does: what the route gave up on goes to the stage that
//! failed, what the group gave up on to the stream that it came from. Each leaves in the write that stores it there.

use std::collections::BTreeMap;

use waypost_core::{Giver, GroupName, Letter, Partition, SettledLetters, StageName, Trace, Traced};
use waypost_protocol::{Batch, Envelope, Offset, partition_of};
use waypost_storage::{Append, GroupState, GroupStep, KeptGroup, ReadLimit, Unit};

use crate::{
    disk::Request,
    shared::{Asking, Layout, Shared},
};

/// Letters that leave at once at most.
pub(crate) const AT_ONCE: usize = 4;
const ALL: ReadLimit = ReadLimit { max_batches: usize::MAX, max_bytes: usize::MAX };
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };

/// Messages that come back to a lane, in the write in which their letters leave.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) messages: Vec<(StageName, Traced)>,
    pub(super) steps: Vec<GroupStep>,
}

/// Where letters go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// To the lane of this partition.
    Lane(Partition),
    Origin,
}

/// A letter that stands.
struct Found {
    partition: Partition,
    offset: Offset,
    batch: Batch,
}

impl Found {
    fn letter(&self) -> Option<Letter<'_>> {
        self.batch.get(0).and_then(Letter::read)
    }
}

/// Sends letters on their way. Gives what comes back to the lane of a partition; what goes to a stream is asked for.
pub(super) fn replay(shared: &mut Shared) -> Option<(Partition, Returned)> {
    let kept = shared.disk.group(&GroupName::of_letters());
    let (way, found) = pick(shared, &kept)?;
    let steps = steps(shared, &kept, &found)?;
    shared.tell(|| {
        let places = found.iter().map(|found| format!("{}/{}", found.partition, found.offset));
        format!("letters are replayed, {way:?}: {}", places.collect::<Vec<_>>().join(", "))
    });
    match way {
        Way::Lane(partition) => {
            let messages = found.iter().filter_map(way_back).collect();
            Some((partition, Returned { messages, steps }))
        }
        Way::Origin => {
            let appends = found.iter().filter_map(|found| append(shared, found)).collect();
            let unit = Unit { appends, step: None, groups: steps };
            shared.ask(Request::Commit(Box::new(unit)), Asking::Replay);
            None
        }
    }
}

/// Some of the letters that stand, all of which go the same way.
fn pick(shared: &mut Shared, kept: &[KeptGroup]) -> Option<(Way, Vec<Found>)> {
    let (mut all, mut picked) = (None, Vec::new());
    for partition in Layout::partitions(&shared.layout.letters) {
        let settled = settled(kept, &partition);
        let chunk = match shared.disk.read(&partition, settled.floor(), ALL) {
            Ok(chunk) => chunk,
            Err(error) => {
                shared.checker.fail(format!("letters cannot be read: {error}"));
                return None;
            }
        };
        for stored in chunk.batches {
            for (index, offset) in (0..stored.batch.len()).zip(stored.base.0..) {
                let offset = Offset(offset);
                if settled.has(offset) || picked.len() == AT_ONCE || shared.random.chance(400) {
                    continue;
                }
                let batch = stored.batch.part(index..index + 1)?;
                let found = Found { partition: partition.clone(), offset, batch };
                let Some(way) = found.letter().and_then(|letter| way_of(&letter)) else {
                    shared.checker.fail(format!("{partition}/{offset} is no letter"));
                    return None;
                };
                if *all.get_or_insert_with(|| way.clone()) == way {
                    picked.push(found);
                }
            }
        }
    }
    Some((all?, picked))
}

fn settled(kept: &[KeptGroup], partition: &Partition) -> SettledLetters {
    let found = kept.iter().find(|kept| kept.source == *partition);
    found.map(|kept| SettledLetters::new(kept.state.position.clone())).unwrap_or_default()
}

fn way_of(letter: &Letter<'_>) -> Option<Way> {
    let (source, _) = letter.source.clone()?;
    Some(match letter.giver {
        Giver::Route(_) => Way::Lane(source),
        Giver::Group(_) => Way::Origin,
    })
}

/// How what is kept of letters that have left changes when these do.
fn steps(shared: &mut Shared, kept: &[KeptGroup], found: &[Found]) -> Option<Vec<GroupStep>> {
    let mut offsets: BTreeMap<&Partition, Vec<Offset>> = BTreeMap::new();
    for Found { partition, offset, .. } in found {
        offsets.entry(partition).or_default().push(*offset);
    }
    let pattern = shared.layout.letters.topics.first()?.clone();
    let mut steps = Vec::new();
    for (partition, offsets) in offsets {
        let from = kept.iter().find(|kept| kept.source == *partition).map(|kept| kept.revision);
        let mut left = settled(kept, partition);
        if let Err(error) = left.settle(shared.disk.bounds(partition).first, offsets) {
            shared.checker.fail(error.to_string());
            return None;
        }
        let state = GroupState { pattern: pattern.clone(), position: left.into_position() };
        let (group, source) = (GroupName::of_letters(), partition.clone());
        steps.push(GroupStep { group, source, from, to: Some(state) });
    }
    Some(steps)
}

fn way_back(found: &Found) -> Option<(StageName, Traced)> {
    let letter = found.letter()?;
    let (_, offset) = letter.source.clone()?;
    let stage = StageName::parse(letter.stage?).ok()?;
    Some((stage, Traced::new(letter.message().ok()?, vec![Trace::read(offset)])?))
}

/// The message as it was published, to where it came from.
fn append(shared: &Shared, found: &Found) -> Option<Append> {
    let letter = found.letter()?;
    let (source, offset) = letter.source.clone()?;
    let read = shared.disk.read(&source, offset, ONE).ok();
    let published = read.and_then(|chunk| {
        let stored = chunk.batches.into_iter().next()?;
        let index = usize::try_from(offset.0.checked_sub(stored.base.0)?).ok()?;
        stored.batch.part(index..index + 1)
    });
    let batch = published.or_else(|| letter.message().ok())?;
    let stream = shared.layout.table.of(batch.get(0)?.topic())?;
    let index = letter.key().map_or(source.index.0, |key| partition_of(key, stream.partitions));
    let partition = Partition::new(stream.name.clone(), index);
    let envelope = Envelope { ingest_ms: shared.wall_ms(), ..Envelope::default() };
    Some(Append { partition, batch, envelope, origin: None })
}
