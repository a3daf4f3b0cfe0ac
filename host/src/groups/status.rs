//! How groups stand, for operators and as metrics.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use utoipa::ToSchema;
use waypost_core::{GroupName, GroupPosition, Partition, Stand};
use waypost_protocol::Offset;
use waypost_storage::{Bounds, ReadLimit};

use super::{Entry, Groups, Inner, Stood};
use crate::time::now_ms;

/// How often lag and age are told.
const REFRESH: Duration = Duration::from_secs(2);
/// How long the counts of a group that is no more are told: whoever collects them has had the last of them.
const KEEP_COUNTS: Duration = Duration::from_secs(300);
/// Groups that nobody is in and that are made to take note of what retention took, in each round: with thousands of them
/// that are left behind, the others have their turn in the next rounds.
const WAKES: usize = 64;
/// The batch that holds the oldest message.
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };

/// A group as it stood a moment ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// The topics that it takes.
    pub pattern: String,
    /// Whether it takes streams, and so outlives its members and the router.
    pub is_durable: bool,
    /// Messages that it is not done with.
    pub lag: u64,
    /// How long ago the oldest of them was taken in, in milliseconds, where that is known.
    pub oldest_ms: Option<u64>,
    /// Messages that its members hold.
    pub in_flight: usize,
    /// Its members.
    pub members: Vec<MemberStatus>,
    /// The partitions of its streams.
    pub partitions: Vec<GroupPartitionStatus>,
}

/// A member as it stood a moment ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberStatus {
    /// Its number, unique in the router's life.
    pub member: u64,
    /// What it calls itself.
    pub name: String,
    /// Messages that it holds.
    pub in_flight: usize,
    /// Messages that it may hold.
    pub max_in_flight: usize,
    /// Partitions that it owns.
    pub partitions: usize,
    /// Whether nothing was heard of it until a lease was over.
    pub is_stalled: bool,
}

/// A partition as the group has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupPartitionStatus {
    /// The stream.
    pub stream: String,
    /// The partition's number there.
    pub partition: u32,
    /// Everything before this offset is done, or was trimmed.
    pub offset: u64,
    /// The offset of the next message to be stored.
    pub next_offset: u64,
    /// Messages between the two that are not done.
    pub lag: u64,
    /// Messages that failed and are to be given out again.
    pub waiting: usize,
}

impl MemberStatus {
    pub(super) fn of(stand: Stand, name: &str) -> Self {
        Self {
            member: stand.member.0,
            name: name.to_owned(),
            in_flight: stand.held,
            max_in_flight: stand.max_in_flight,
            partitions: stand.partitions,
            is_stalled: stand.is_stalled,
        }
    }
}

impl Groups {
    /// Every group, by name.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        let table = self.0.table();
        table.iter().map(|(name, entry)| self.0.status_of(name, entry)).collect()
    }

    /// One group, if there is such.
    #[must_use]
    pub fn status_of(&self, group: &GroupName) -> Option<GroupStatus> {
        self.0.table().get(group).map(|entry| self.0.status_of(group, entry))
    }

    /// Tells lag and age as metrics from now on, until the groups are closed.
    pub(super) fn watch(&self) {
        let groups = std::sync::Arc::downgrade(&self.0);
        let mut stopping = self.0.stopping.subscribe();
        self.0.tasks().spawn(async move {
            let mut ticks = tokio::time::interval(REFRESH);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut woken = None;
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
                }
                let Some(inner) = groups.upgrade() else { return };
                Groups(inner).refresh(&mut woken).await;
            }
        });
    }

    /// Tells no more of groups that ended a while ago, and of the first of more than there may be groups.
    fn forget_counts(&self) {
        let most = self.0.settings.load().max_groups;
        let mut gone = self.0.gone();
        while let Some((since, _)) = gone.front()
            && (gone.len() > most || since.elapsed() >= KEEP_COUNTS)
            && let Some((_, group)) = gone.pop_front()
        {
            let is_back = self.0.table().contains_key(&group);
            // One that ended again since is told of until that is long ago.
            if !is_back && gone.iter().all(|(_, later)| *later != group) {
                self.0.metrics.forget_counts(&group);
            }
        }
    }

    /// One round, which wakes those behind the group that was woken last.
    async fn refresh(&self, woken: &mut Option<GroupName>) {
        let mut names: Vec<GroupName> = self.0.table().keys().cloned().collect();
        let before = names.partition_point(|name| Some(name) <= woken.as_ref());
        names.rotate_left(before);
        self.forget_counts();
        let mut wakes = 0;
        for name in names {
            if wakes < WAKES && self.wake(&name) {
                wakes += 1;
                *woken = Some(name.clone());
            }
            self.find_oldest(&name).await;
            let Some(status) = self.status_of(&name).filter(|status| status.is_durable) else {
                continue;
            };
            let (metrics, labels) = (&self.0.metrics, [name.as_str()]);
            let lag = i64::try_from(status.lag).unwrap_or(i64::MAX);
            metrics.lag.with_label_values(&labels).set(lag);
            let age = i64::try_from(status.oldest_ms.unwrap_or(0) / 1000).unwrap_or(i64::MAX);
            metrics.oldest_seconds.with_label_values(&labels).set(age);
        }
    }

    /// Starts the task of a group that has none and that retention overtook, so that it counts what is lost and goes on
    /// behind it. Says whether it did.
    fn wake(&self, group: &GroupName) -> bool {
        let overtaken = {
            let table = self.0.table();
            table.get(group).filter(|entry| entry.task.is_none()).and_then(|entry| {
                let is_behind = |(partition, position): &(Partition, GroupPosition)| {
                    self.0.bounds(partition).first > position.floor
                };
                entry.kept.iter().any(is_behind).then(|| entry.pattern.clone())
            })
        };
        // While the router stops, no task begins.
        overtaken.is_some_and(|pattern| self.mailbox(group, &pattern, None).is_ok())
    }

    /// Looks up when the first message of each partition that is not done was taken in, where that is not known.
    async fn find_oldest(&self, group: &GroupName) {
        let unknown: Vec<(Partition, Offset)> = {
            let table = self.0.table();
            let Some(entry) = table.get(group) else { return };
            let kept = entry.kept.iter().filter_map(|(partition, position)| {
                let Bounds { first, next, .. } = self.0.bounds(partition);
                let floor = position.trimmed(first).floor;
                let known = entry.oldest.get(partition).is_some_and(|(at, _)| *at == floor);
                (next > floor && !known).then(|| (partition.clone(), floor))
            });
            kept.collect()
        };
        for (partition, floor) in unknown {
            let read = self.0.streams.storage().read(partition.clone(), floor, ONE).await;
            let first = read.ok().and_then(|chunk| chunk.batches.into_iter().next());
            if let Some(ingest_ms) = first.map(|stored| stored.envelope.ingest_ms)
                && let Some(entry) = self.0.table().get_mut(group)
            {
                entry.oldest.insert(partition, (floor, ingest_ms));
            }
        }
    }
}

impl Inner {
    /// What a partition holds; nothing, where it is not declared.
    fn bounds(&self, partition: &Partition) -> Bounds {
        self.streams.storage().bounds(partition).unwrap_or_default()
    }

    fn status_of(&self, name: &GroupName, entry: &Entry) -> GroupStatus {
        let Stood { members, lag, oldest_ms, .. } = entry.stood.clone();
        let partitions: Vec<GroupPartitionStatus> = entry
            .kept
            .iter()
            .map(|(partition, position)| {
                let Bounds { first, next, .. } = self.bounds(partition);
                let position = position.trimmed(first);
                GroupPartitionStatus {
                    stream: partition.stream.as_str().to_owned(),
                    partition: partition.index.0,
                    offset: position.floor.0,
                    next_offset: next.0,
                    lag: position.lag(next),
                    waiting: position.failed.len(),
                }
            })
            .collect();
        let is_durable = !partitions.is_empty();
        let oldest = oldest(&entry.oldest, &partitions);
        GroupStatus {
            name: name.as_str().to_owned(),
            pattern: entry.pattern.to_string(),
            is_durable,
            lag: if is_durable { partitions.iter().map(|each| each.lag).sum() } else { lag },
            oldest_ms: if is_durable { oldest } else { oldest_ms },
            in_flight: members.iter().map(|member| member.in_flight).sum(),
            members,
            partitions,
        }
    }
}

/// The age of the oldest message that is not done.
fn oldest(
    known: &BTreeMap<Partition, (Offset, u64)>,
    partitions: &[GroupPartitionStatus],
) -> Option<u64> {
    let lags = |partition: &Partition, floor: Offset| {
        partitions.iter().any(|each| {
            each.stream == partition.stream.as_str()
                && each.partition == partition.index.0
                && each.offset == floor.0
                && each.lag > 0
        })
    };
    let ages = known.iter().filter(|(partition, (floor, _))| lags(partition, *floor));
    let first = ages.map(|(_, (_, ingest_ms))| *ingest_ms).min()?;
    Some(now_ms().saturating_sub(first))
}
