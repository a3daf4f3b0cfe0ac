//! The simulated disk: storage in memory, behind a queue that is written, and synced later.
//!
//! As in the embedded engine, what came during a sync is the next group, and answers follow the sync. What was written
//! and not synced when the process is killed is found or not: as many bytes of it as reached the disk.
//! A unit of which only a part did is torn, and is dropped whole.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use waypost_core::{GroupName, Partition, Retention, RouteName};
use waypost_protocol::{Epoch, Offset, ProducerId};
use waypost_storage::{
    Append, Appended, Bounds, Chunk, CommitError, Committed, KeptGroup, MemoryStorage, MessageId,
    OpenedProducer, Origin, ParkedMessage, ReadError, ReadLimit, Storage, Unit,
};

use crate::random::Random;

/// What a group of units beside their batches takes on the disk.
const UNIT_BYTES: u64 = 64;
/// Producers that are known at once; the simulation never has as many.
const MAX_PRODUCERS: usize = 100;

/// What storage is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Open(ProducerId, Epoch, u64),
    Commit(Box<Unit>),
}

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Opened(Result<OpenedProducer, CommitError>),
    Committed(Result<Committed, CommitError>),
}

/// Storage, with what is on its way into it from those who wait for an answer.
pub(crate) struct Disk<T> {
    storage: MemoryStorage,
    queue: VecDeque<(Request, T)>,
    writing: Vec<(Request, T)>,
    is_fenced: bool,
    /// Counts what was changed.
    pub(crate) changes: u64,
    /// Units that a crash tore.
    pub(crate) torn: u64,
    /// The identities of outputs that are stored; an engine that writes less at once would know them by these.
    outputs: BTreeSet<(Partition, MessageId)>,
    /// What came back to the route, whose outputs have the same identities again.
    returned: BTreeSet<(Partition, Offset)>,
    /// The newest life of each producer that was opened.
    opened: BTreeMap<ProducerId, Epoch>,
    /// What no engine may store, if it was.
    pub(crate) wrong: Option<String>,
}

impl<T> Disk<T> {
    pub(crate) fn new() -> Self {
        Self {
            storage: MemoryStorage::new(MAX_PRODUCERS),
            queue: VecDeque::new(),
            writing: Vec::new(),
            is_fenced: false,
            changes: 0,
            torn: 0,
            outputs: BTreeSet::new(),
            returned: BTreeSet::new(),
            opened: BTreeMap::new(),
            wrong: None,
        }
    }

    pub(crate) fn declare(&mut self, partition: &Partition, partitions: std::num::NonZeroU32) {
        let declared = now(self.storage.declare(partition.stream.clone(), partitions));
        declared.expect("a stream is declared the same each time");
    }

    /// Takes a place in the queue.
    pub(crate) fn ask(&mut self, request: Request, asking: T) {
        self.queue.push_back((request, asking));
    }

    /// Whether one that waits is of a kind.
    pub(crate) fn is_asked(&self, kind: impl Fn(&T) -> bool) -> bool {
        self.queue.iter().any(|(_, asking)| kind(asking))
    }

    /// Begins to write what waits, unless the last group is still on its way. Says whether it did.
    pub(crate) fn write(&mut self) -> bool {
        let begins = self.writing.is_empty() && !self.queue.is_empty();
        if begins {
            self.writing.extend(self.queue.drain(..));
        }
        begins
    }

    /// Whether something is written and not synced.
    pub(crate) fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// What was written is synced. Gives the answers, in order.
    pub(crate) fn synced(&mut self) -> Vec<(T, Answer)> {
        let synced = std::mem::take(&mut self.writing);
        synced.into_iter().map(|(request, asking)| (asking, self.apply(request))).collect()
    }

    /// The sync failed: nobody knows what is on the disk, and nothing is written any more.
    pub(crate) fn fail(&mut self, random: &mut Random) -> Vec<(T, Answer)> {
        self.is_fenced = true;
        let asked: Vec<_> = self.writing.iter().map(|(request, _)| request.clone()).collect();
        self.settle_disk(asked, random);
        let unknown = || CommitError::Unknown { reason: "the sync failed".to_owned() };
        let writing = std::mem::take(&mut self.writing);
        writing.into_iter().map(|(request, to)| (to, refuse(&request, unknown()))).collect()
    }

    /// Refuses what waits, where nothing is written any more.
    pub(crate) fn refuse_queue(&mut self) -> Vec<(T, Answer)> {
        let fenced = || CommitError::Fenced { reason: "the sync failed".to_owned() };
        let queue = self.queue.drain(..);
        queue.map(|(request, to)| (to, refuse(&request, fenced()))).collect()
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// The process is gone: what was queued is forgotten, and what was being written is found as far as it came.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let asked: Vec<_> = self.writing.drain(..).map(|(request, _)| request).collect();
        self.queue.clear();
        self.settle_disk(asked, random);
        self.is_fenced = false;
    }

    fn settle_disk(&mut self, asked: Vec<Request>, random: &mut Random) {
        let total: u64 = asked.iter().map(bytes).sum();
        let mut written = random.within(0..total + 1);
        for request in asked {
            let needed = bytes(&request);
            if written < needed {
                self.torn += u64::from(written > 0);
                return;
            }
            written -= needed;
            self.apply(request);
        }
    }

    fn apply(&mut self, request: Request) -> Answer {
        self.changes += 1;
        match request {
            Request::Open(producer, epoch, now_ms) => {
                let opened = now(self.storage.open_producer(producer, epoch, now_ms));
                if opened.is_ok() {
                    let newest = self.opened.entry(producer).or_insert(epoch);
                    *newest = epoch.max(*newest);
                }
                Answer::Opened(opened)
            }
            Request::Commit(unit) => {
                let committed = now(self.storage.commit((*unit).clone()));
                if let Ok(committed) = &committed {
                    if let Some(step) = unit.step.as_ref().filter(|_| !unit.groups.is_empty()) {
                        let places = step.park.iter().map(|parked| parked.id.offset);
                        let source = step.source.clone();
                        self.returned.extend(places.map(|offset| (source.clone(), offset)));
                    }
                    for (append, appended) in unit.appends.iter().zip(&committed.appends) {
                        self.note(append, *appended);
                    }
                }
                Answer::Committed(committed)
            }
        }
    }

    /// A batch was stored, or had been before.
    fn note(&mut self, append: &Append, appended: Appended) {
        if let Some(Origin { source, messages, .. }) = &append.origin {
            for id in messages {
                let is_new = self.outputs.insert((source.clone(), *id));
                if !is_new && !self.returned.contains(&(source.clone(), id.offset)) {
                    self.wrong.get_or_insert(format!("two outputs have the identity {id:?}"));
                }
            }
        }
        if let (Some(producer), Appended::Stored { .. }) = (append.envelope.producer, appended)
            && let Some(newest) = self.opened.get(&producer.id)
            && *newest > producer.epoch
        {
            let what = format!("{producer:?} stores something, and its life {newest} was opened");
            self.wrong.get_or_insert(what);
        }
    }

    pub(crate) fn set_full(&mut self, is_full: bool) {
        self.storage.set_full(is_full);
    }

    /// Gives up the oldest messages of a partition beyond so many.
    pub(crate) fn trim(&mut self, partition: &Partition, keep: u64, now_ms: u64) {
        self.changes += 1;
        let retention = Retention { max_messages: Some(keep), ..Retention::default() };
        let trimmed = now(self.storage.trim(partition.clone(), retention, now_ms));
        trimmed.expect("storage in memory trims what was declared");
    }

    pub(crate) fn bounds(&self, partition: &Partition) -> Bounds {
        self.storage.bounds(partition).unwrap_or_default()
    }

    pub(crate) fn read(
        &self,
        partition: &Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Chunk, ReadError> {
        now(self.storage.read(partition.clone(), from, limit))
    }

    pub(crate) fn progress(&self, route: &RouteName, source: &Partition) -> Option<Offset> {
        now(self.storage.progress(route.clone(), source.clone())).ok().flatten()
    }

    pub(crate) fn parked(&self, route: &RouteName, source: &Partition) -> Vec<ParkedMessage> {
        now(self.storage.parked(route.clone(), source.clone())).unwrap_or_default()
    }

    pub(crate) fn group(&self, group: &GroupName) -> Vec<KeptGroup> {
        now(self.storage.group(group.clone())).unwrap_or_default()
    }
}

/// How many bytes a request takes on the disk.
fn bytes(request: &Request) -> u64 {
    match request {
        Request::Commit(unit) => {
            let batches = unit.appends.iter().map(|append| append.batch.byte_len() as u64);
            UNIT_BYTES + batches.sum::<u64>()
        }
        Request::Open(..) => UNIT_BYTES,
    }
}

fn refuse(request: &Request, error: CommitError) -> Answer {
    match request {
        Request::Open(..) => Answer::Opened(Err(error)),
        Request::Commit(_) => Answer::Committed(Err(error)),
    }
}

/// What a future gives that is ready at once, as those of storage in memory are.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("storage in memory answers at once"),
    }
}
