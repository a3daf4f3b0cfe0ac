//! How a group begins, or goes on where it was.

use std::sync::Arc;

use tokio::sync::mpsc;
use waypost_core::{GroupLedger, GroupName, GroupPosition, Partition, StreamDefinition};
use waypost_protocol::{
    ConnectionId, ErrorCode, Offset, Pattern,
    frame::{ReadFrom, Start},
};
use waypost_storage::{
    CommitError, GroupState, GroupStep, ReadError, Revision, Seek, Storage, Unit,
};

use super::{
    Groups,
    clock::Clock,
    task::{Command, Part, Source, Task},
};
use crate::{router::QueueLimits, streams::Refused};

/// What waits for a group over memory topics, beyond what its task holds.
const QUEUE: QueueLimits = QueueLimits { messages: 65_536, bytes: 8 << 20 };
/// Connections are counted from one: no publisher has this number.
const GROUPS: ConnectionId = ConnectionId(0);

/// A group whose task begins.
pub(super) struct Beginning {
    pub(super) groups: Groups,
    pub(super) name: GroupName,
    pub(super) pattern: Pattern,
    pub(super) from: Option<ReadFrom>,
    /// Whether nothing is kept of it.
    pub(super) is_new: bool,
}

/// Lives as long as the group has members, and a while longer.
pub(super) async fn run(beginning: Beginning, mut commands: mpsc::Receiver<Command>) {
    let Beginning { groups, name, is_new, .. } = &beginning;
    match begin(&beginning).await {
        Ok(task) => task.run(commands).await,
        Err(refused) => {
            commands.close();
            groups.rest(name, !is_new);
            while let Some(command) = commands.recv().await {
                command.refuse(&refused);
            }
        }
    }
}

async fn begin(beginning: &Beginning) -> Result<Task, Refused> {
    let Beginning { groups, name, pattern, from, .. } = beginning;
    let rules = groups.0.settings.load().rules_of(name).clone();
    let clock = Clock::start();
    let partitions = partitions(groups, pattern);
    let (streams, policy) = (&groups.0.streams, rules.policy());
    if let Some(topic) = rules.dead_letter.as_ref().filter(|topic| pattern.matches(topic.as_str()))
    {
        let message = format!(
            "the group {name} would take its own dead letters: {pattern} has {topic}; set its dead_letter to \
             another topic"
        );
        return Err(Refused { code: ErrorCode::NoDeadLetters, message });
    }
    if partitions.is_empty() {
        if from.as_ref().is_some_and(|from| from.start.is_some()) {
            let message = format!("no stream keeps topics of {pattern}; join without a place");
            return Err(Refused { code: ErrorCode::NoStream, message });
        }
        let subscription = groups.0.router.subscribe(GROUPS, pattern, QUEUE);
        let ledger = GroupLedger::new(policy, true, GroupPosition::default(), clock.now_ms());
        let parts = vec![Part::new(Source::Memory(Box::new(subscription)))];
        return Ok(Task::new(beginning, rules, clock, vec![ledger], parts));
    }
    if let Some(topic) = &rules.dead_letter
        && streams.table().of(topic.as_str()).is_none()
    {
        let message = format!(
            "the group {name} takes streams, and no stream keeps {topic}, where its dead letters go; set its \
             dead_letter to a topic of a stream"
        );
        return Err(Refused { code: ErrorCode::NoDeadLetters, message });
    }
    let positions = positions(groups, beginning, &partitions).await?;
    let (mut ledgers, mut parts) = (Vec::new(), Vec::new());
    let behind = groups.0.table().get(name).map(|entry| entry.stood.behind.clone());
    for (partition, (revision, position)) in partitions.into_iter().zip(positions) {
        ledgers.push(GroupLedger::new(policy, false, position, clock.now_ms()));
        let is_behind = behind.iter().flatten().any(|behind| *behind == partition);
        let mut part = Part::new(Source::Stream { partition, revision });
        part.is_behind = is_behind;
        parts.push(part);
    }
    Ok(Task::new(beginning, rules, clock, ledgers, parts))
}

/// The partitions of all streams that have topics of a pattern.
pub(super) fn partitions(groups: &Groups, pattern: &Pattern) -> Vec<Partition> {
    let overlaps =
        |stream: &&StreamDefinition| stream.topics.iter().any(|own| own.overlaps(pattern));
    let of = |stream: &StreamDefinition| {
        let name = stream.name.clone();
        stream.partition_indices().map(move |index| Partition { stream: name.clone(), index })
    };
    groups.0.streams.table().all().iter().filter(overlaps).flat_map(of).collect()
}

/// Where the group stands in each partition. What it has no position for it begins, and that is kept first.
async fn positions(
    groups: &Groups,
    beginning: &Beginning,
    partitions: &[Partition],
) -> Result<Vec<(Revision, GroupPosition)>, Refused> {
    let Beginning { name, pattern, from, .. } = beginning;
    let storage = groups.0.streams.storage();
    let kept = storage.group(name.clone()).await.map_err(|error| unreadable(&error))?;
    // A stream that came later is taken from its beginning: nothing of it was missed yet.
    let from = from.as_ref().filter(|_| kept.is_empty());
    let (mut positions, mut new) = (Vec::new(), Vec::new());
    for source in partitions {
        if let Some(kept) = kept.iter().find(|kept| kept.source == *source) {
            positions.push((kept.revision, kept.state.position.clone()));
            continue;
        }
        let floor = first_offset(storage, source, from, partitions.len()).await?;
        let position = GroupPosition::at(floor);
        positions.push((Revision(0), position.clone()));
        let to = Some(GroupState { pattern: pattern.clone(), position });
        new.push(GroupStep { group: name.clone(), source: source.clone(), from: None, to });
    }
    if !new.is_empty() {
        let begun = storage.commit(Unit { groups: new, ..Unit::default() }).await;
        begun.map_err(|error| uncommitted(&error))?;
    }
    Ok(positions)
}

/// Where a group begins in a partition.
pub(super) async fn first_offset(
    storage: &Arc<dyn Storage>,
    source: &Partition,
    from: Option<&ReadFrom>,
    partitions: usize,
) -> Result<Offset, Refused> {
    let own = |from: &ReadFrom| {
        let mut positions = from.positions.iter();
        positions
            .find(|each| each.stream == source.stream.as_str() && each.partition == source.index.0)
            .map(|position| Offset(position.offset))
    };
    let start = from.map(|from| from.start);
    let offset = match (from.and_then(own), start) {
        (Some(offset), _) => offset,
        (None, Some(Some(Start::Offset(_)))) if partitions > 1 => {
            let message = format!(
                "an offset counts in one partition, and the group has {partitions}; name a time, or a position \
                 for each"
            );
            return Err(Refused { code: ErrorCode::UnknownPartition, message });
        }
        (None, Some(Some(Start::Offset(offset)))) => Offset(offset),
        (None, start) => {
            let seek = match start {
                None | Some(Some(Start::Beginning(_) | Start::Offset(_))) => Seek::Beginning,
                Some(Some(Start::TimeMs(ms))) => Seek::Time(ms),
                Some(None) => Seek::End,
            };
            let found = storage.seek(source.clone(), seek).await;
            return found.map_err(|error| unreadable(&error));
        }
    };
    let bounds = storage.bounds(source).map_err(|error| unreadable(&error))?;
    let (first, next) = (bounds.first, bounds.next);
    if offset < first || offset > next {
        let message = format!("{source} holds offsets from {first} to before {next}, not {offset}");
        return Err(Refused { code: ErrorCode::OffsetOutOfRange, message });
    }
    Ok(offset)
}

fn unreadable(error: &ReadError) -> Refused {
    Refused { code: ErrorCode::Internal, message: error.to_string() }
}

pub(super) fn uncommitted(error: &CommitError) -> Refused {
    let code = error.code().unwrap_or(ErrorCode::StorageFenced);
    Refused { code, message: error.to_string() }
}
