//! Groups: members that share streams or topics, each message going to one of them until it is done.
//!
//! A task for each group that has members moves bytes and time into its ledger, [`waypost_core::Crew`], and
//! deliveries out. A group over streams is kept in storage with them; one over memory topics lives as long as
//! it has members, and a while longer. What is known of a group that nobody is in stands in a table, so that
//! lag is told of it as well.

mod clock;
mod member;
mod metrics;
mod operate;
mod rules;
mod start;
mod status;
mod task;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
pub use member::{Answer, Given, JoinGroup, MemberEvent, Membership};
pub use metrics::GroupMetrics;
pub use rules::{GroupRules, GroupSettings};
pub use status::{GroupPartitionStatus, GroupStatus, MemberStatus};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use waypost_core::{GroupName, GroupPosition, LeaseId, MemberId, Partition};
use waypost_protocol::{ErrorCode, Offset, Pattern, frame::ReadFrom};

use crate::{
    router::Router,
    streams::{Refused, Streams},
    time::now_ms,
};
use task::Command;

/// Commands that wait for a group's task; whoever comes later awaits room.
const MAILBOX: usize = 256;
/// How often a join is tried again whose group ended just then.
const JOIN_TRIES: usize = 5;

/// The groups of a router; cheap to clone.
#[derive(Debug, Clone)]
pub struct Groups(Arc<Inner>);

struct Inner {
    streams: Streams,
    router: Router,
    /// What holds for groups whose task begins.
    settings: ArcSwap<GroupSettings>,
    metrics: GroupMetrics,
    table: Mutex<BTreeMap<GroupName, Entry>>,
    tasks: Mutex<JoinSet<()>>,
    /// Groups that are no more and whose counts are still told, and since when; the first ended first.
    gone: Mutex<VecDeque<(Instant, GroupName)>>,
    next_member: AtomicU64,
    next_lease: AtomicU64,
    stopping: watch::Sender<bool>,
}

/// What is known of a group.
#[derive(Debug)]
struct Entry {
    pattern: Pattern,
    /// How far it came, as far as its task, if it has one, has said.
    kept: Vec<(Partition, GroupPosition)>,
    /// When the first message of a partition that is not done was taken in, as far as it was looked up: the
    /// message, and the time.
    oldest: BTreeMap<Partition, (Offset, u64)>,
    /// How its members stood when its task said so last.
    stood: Stood,
    /// Reaches its task.
    task: Option<mpsc::Sender<Command>>,
}

/// What a task says of its group.
#[derive(Debug, Clone, Default)]
struct Stood {
    members: Vec<MemberStatus>,
    /// What a group over memory topics is not done with, and the age of the oldest of it.
    lag: u64,
    oldest_ms: Option<u64>,
    /// Partitions of which it was said that retention overtook the group, which has not caught up since.
    behind: Vec<Partition>,
}

impl Entry {
    fn new(pattern: Pattern, kept: Vec<(Partition, GroupPosition)>) -> Self {
        Self { pattern, kept, oldest: BTreeMap::new(), stood: Stood::default(), task: None }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Groups").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Groups {
    /// The groups that storage knows, and those that will be joined.
    ///
    /// # Errors
    ///
    /// Storage cannot be read.
    pub async fn open(
        streams: Streams,
        router: Router,
        settings: GroupSettings,
        metrics: GroupMetrics,
    ) -> Result<Self, waypost_storage::ReadError> {
        let storage = streams.storage().clone();
        let mut table = BTreeMap::new();
        let names = storage.groups().await?;
        for name in names.into_iter().filter(|name| !name.is_of_router()) {
            let kept = storage.group(name.clone()).await?;
            let Some(pattern) = kept.first().map(|kept| kept.state.pattern.clone()) else {
                continue;
            };
            let kept = kept.into_iter().map(|kept| (kept.source, kept.state.position)).collect();
            table.insert(name, Entry::new(pattern, kept));
        }
        let groups = Self::new(streams, router, settings, metrics, table);
        groups.watch();
        Ok(groups)
    }

    fn new(
        streams: Streams,
        router: Router,
        settings: GroupSettings,
        metrics: GroupMetrics,
        table: BTreeMap<GroupName, Entry>,
    ) -> Self {
        Self(Arc::new(Inner {
            streams,
            router,
            settings: ArcSwap::from_pointee(settings),
            metrics,
            table: Mutex::new(table),
            tasks: Mutex::default(),
            gone: Mutex::default(),
            next_member: AtomicU64::new(1),
            // What an earlier start of the router gave out is nobody's lease now.
            next_lease: AtomicU64::new(now_ms() << 20),
            stopping: watch::Sender::new(false),
        }))
    }

    /// Groups over memory topics.
    #[cfg(test)]
    pub(crate) fn none(streams: Streams, router: Router) -> Self {
        let metrics = GroupMetrics::register(&prometheus::Registry::new());
        let metrics = metrics.expect("an empty registry takes every series");
        Self::new(streams, router, GroupSettings::default(), metrics, BTreeMap::new())
    }

    /// Makes a member of a group, which begins if it does not exist.
    ///
    /// # Errors
    ///
    /// The group takes another pattern or has as many members as it may, there are as many groups as may be, or it
    /// cannot begin where it was asked to.
    pub async fn join(&self, join: JoinGroup) -> Result<Membership, Refused> {
        for _ in 0..JOIN_TRIES {
            let mailbox = self.mailbox(&join.group, &join.pattern, join.from.as_ref())?;
            let (reply, joined) = oneshot::channel();
            if mailbox.send(Command::Join(Box::new(join.clone()), reply)).await.is_err() {
                continue;
            }
            if let Ok(joined) = joined.await {
                return joined;
            }
        }
        Err(Refused::of(ErrorCode::Overloaded))
    }

    /// What holds from now on for groups that have no member.
    pub fn set_settings(&self, settings: GroupSettings) {
        self.0.settings.store(Arc::new(settings));
    }

    /// Gives nothing more out; what members hold may still be settled.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Waits until every group has ended.
    pub async fn close(self) {
        self.stop();
        let mut tasks = std::mem::take(&mut *self.0.tasks());
        while tasks.join_next().await.is_some() {}
    }

    /// Reaches the task of a group, which is started if there is none.
    fn mailbox(
        &self,
        group: &GroupName,
        pattern: &Pattern,
        from: Option<&ReadFrom>,
    ) -> Result<mpsc::Sender<Command>, Refused> {
        if *self.0.stopping.borrow() {
            return Err(Refused::of(ErrorCode::ShuttingDown));
        }
        let mut table = self.0.table();
        if let Some(entry) = table.get(group) {
            if entry.pattern != *pattern {
                let own = &entry.pattern;
                let message = format!(
                    "the group {group} takes {own}, not {pattern}; join it with that, or another group"
                );
                return Err(Refused { code: ErrorCode::GroupMismatch, message });
            }
        } else if table.len() >= self.0.settings.load().max_groups {
            let most = self.0.settings.load().max_groups;
            let message = format!("there are {most} groups, as many as may be; delete one first");
            return Err(Refused { code: ErrorCode::TooManyGroups, message });
        }
        let entry = table.entry(group.clone());
        let entry = entry.or_insert_with(|| Entry::new(pattern.clone(), Vec::new()));
        if let Some(task) = entry.task.as_ref().filter(|task| !task.is_closed()) {
            return Ok(task.clone());
        }
        let (mailbox, commands) = mpsc::channel(MAILBOX);
        entry.task = Some(mailbox.clone());
        let is_new = entry.kept.is_empty();
        drop(table);
        let begun = start::Beginning {
            groups: self.clone(),
            name: group.clone(),
            pattern: pattern.clone(),
            from: from.cloned(),
            is_new,
        };
        let mut tasks = self.0.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(start::run(begun, commands));
        Ok(mailbox)
    }

    /// Takes note of how far a group came.
    fn note(&self, group: &GroupName, kept: Vec<(Partition, GroupPosition)>, stood: Stood) {
        if let Some(entry) = self.0.table().get_mut(group) {
            (entry.kept, entry.stood) = (kept, stood);
        }
    }

    /// A group's task has ended and takes no more commands: it is started anew for the next who joins. Nothing is left
    /// of a group that is not kept. Whoever joined since has a task of his own, which stays.
    fn rest(&self, group: &GroupName, is_kept: bool) {
        let mut table = self.0.table();
        let Some(entry) = table.get_mut(group) else { return };
        if entry.task.as_ref().is_some_and(|task| !task.is_closed()) {
            return;
        }
        if is_kept {
            entry.task = None;
        } else {
            table.remove(group);
            drop(table);
            self.0.metrics.forget(group);
            self.0.gone().push_back((Instant::now(), group.clone()));
        }
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, BTreeMap<GroupName, Entry>> {
        // No code under the lock panics, so a poisoned table is a whole one.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self) -> MutexGuard<'_, VecDeque<(Instant, GroupName)>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member_id(&self) -> MemberId {
        MemberId(self.next_member.fetch_add(1, Ordering::Relaxed))
    }

    fn lease_id(&self) -> LeaseId {
        LeaseId(self.next_lease.fetch_add(1, Ordering::Relaxed))
    }
}
