//! The embedded engine: streams on the local disk, in the keyspaces of fjall.
//!
//! `docs/storage.md` says why this library, what it was found to do, and what is built around it: the numbered
//! commits, the number kept apart, the fence and the reserve. [`keys`] has the layout.

mod create;
mod effects;
mod format;
mod holes;
mod keys;
mod moving;
mod open;
mod records;
mod shared;
mod space;
mod store;
mod synced;
mod tail;
#[cfg(test)]
mod tests;
mod value;
mod watch;
mod writer;

use std::{
    collections::{BTreeSet, HashSet},
    io,
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    thread,
};

use futures_core::future::BoxFuture;
pub use open::OpenError;
use shared::Shared;
use store::Store;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::spawn_blocking,
};
use watch::Watch;
use waypost_core::{GroupName, Partition, Retention, RouteName, StreamName};
use waypost_protocol::{Epoch, Offset, ProducerId};
use writer::{Reply, Request, Writer};

use crate::{
    AtomicScope, Bounds, Chunk, CommitError, Committed, DeclareError, DiskUse, Fence, Head,
    KeptGroup, KeptRoute, MovedBack, OpenedProducer, ParkedMessage, Promises, ReadError, ReadLimit,
    Seek, Storage, TrimReport, Unit,
};

/// How the embedded engine works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Where it keeps its files; made if it is not there.
    pub folder: PathBuf,
    /// What takes space is refused while fewer bytes are free.
    pub reserve_bytes: u64,
    /// Requests that wait for the writer at most; whoever comes later awaits room.
    pub queue: usize,
    /// The bytes from which on a commit takes no further request.
    pub group_bytes: usize,
    /// The newest batches that are kept in memory for readers, in bytes.
    pub tail_bytes: usize,
    /// The library's cache of blocks, in bytes.
    pub cache_bytes: u64,
    /// Producers that are known at most.
    pub max_producers: usize,
    /// Reads from disk at the same time.
    pub reads: usize,
    /// Open a store that lost acknowledged commits all the same.
    pub accept_loss: bool,
    /// Streams whose batches are acknowledged once they are written, without a wait for the sync. The loss of power
    /// may take the newest of them, never any of the middle.
    pub unsynced: BTreeSet<StreamName>,
}

impl EmbeddedConfig {
    /// The defaults, in a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            reserve_bytes: 1 << 30,
            queue: 1024,
            group_bytes: 8 << 20,
            tail_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            max_producers: 100_000,
            reads: 16,
            accept_loss: false,
            unsynced: BTreeSet::new(),
        }
    }
}

/// Streams on the local disk. Its futures run on a tokio runtime. Dropping it commits what waits and blocks
/// until that is done; [`close`](Self::close) does not block.
#[derive(Debug)]
pub struct EmbeddedStorage {
    shared: Arc<Shared>,
    folder: PathBuf,
    reserve_bytes: u64,
    moved_back: Vec<MovedBack>,
    store: Option<Store>,
    reads: Arc<Semaphore>,
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<thread::JoinHandle<()>>,
}

impl EmbeddedStorage {
    /// Opens or makes a store. This reads its journal and blocks meanwhile.
    ///
    /// # Errors
    ///
    /// Its files cannot be read, another process has it open, it is damaged, or it lost commits that were
    /// acknowledged.
    pub fn open(config: EmbeddedConfig) -> Result<Self, OpenError> {
        let EmbeddedConfig { folder, reserve_bytes, group_bytes, .. } = config;
        let opened =
            open::open(&folder, config.cache_bytes, config.max_producers, config.accept_loss)?;
        let moved_back = opened.moved_back;
        let shared = Arc::new(Shared::new(config.tail_bytes));
        let no_thread = |source| OpenError::Io { path: folder.clone(), source };
        let watch = Watch::start(opened.store.clone(), shared.fence.clone()).map_err(no_thread)?;
        let writer = Writer {
            store: opened.store.clone(),
            ledger: opened.ledger,
            number: opened.number,
            shared: shared.clone(),
            watch,
            synced: Arc::new(opened.synced),
            folder: folder.clone(),
            reserve_bytes,
            group_bytes,
            unsynced: config.unsynced,
            is_behind: false,
        };
        writer.show_all();
        let (requests, receiver) = mpsc::channel(config.queue.max(1));
        let thread = thread::Builder::new().name("storage-writer".into());
        let thread = thread.spawn(move || writer.run(receiver));
        let thread = thread.map_err(no_thread)?;
        let reads = Arc::new(Semaphore::new(config.reads.max(1)));
        let (store, requests, writer) = (Some(opened.store), Some(requests), Some(thread));
        Ok(Self { shared, folder, reserve_bytes, moved_back, store, reads, requests, writer })
    }

    /// Commits what waits already and closes the store.
    pub async fn close(self) {
        // Joining a thread blocks.
        drop(spawn_blocking(move || drop(self)).await);
    }

    async fn ask<T, E: From<CommitError>>(
        &self,
        request: impl FnOnce(Reply<T, E>) -> Request,
    ) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(CommitError::Closed)?;
        if requests.send(request(reply)).await.is_err() {
            return Err(self.writer_ended().into());
        }
        match answer.await {
            Ok(answer) => answer,
            // The writer ended between taking the request and answering it.
            Err(_) => Err(CommitError::Unknown { reason: "the writer ended".into() }.into()),
        }
    }

    fn writer_ended(&self) -> CommitError {
        let fenced = self.shared.fence.reason();
        fenced.map_or(CommitError::Closed, |reason| CommitError::Fenced { reason })
    }

    /// Reads from the disk, on a thread that may wait for it.
    async fn read_disk<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let closed = || ReadError::Failed("storage is closed".to_owned());
        let store = self.store.clone().ok_or_else(closed)?;
        let permit = self.reads.clone().acquire_owned().await.map_err(|_| closed())?;
        let read = spawn_blocking(move || {
            let outcome = read(&store);
            drop(permit);
            outcome
        });
        read.await.unwrap_or_else(|error| Err(ReadError::Failed(error.to_string())))
    }
}

impl Drop for EmbeddedStorage {
    fn drop(&mut self) {
        self.requests = None;
        self.store = None;
        // A panic of the writer has raised the fence.
        drop(self.writer.take().map(thread::JoinHandle::join));
        self.shared.close();
    }
}

impl Storage for EmbeddedStorage {
    fn promises(&self) -> Promises {
        let (engine, scope) = ("embedded (fjall 3)", AtomicScope::Store);
        Promises { engine, scope, survives_kill: true, survives_power_loss: true }
    }

    fn fence(&self) -> &Fence {
        &self.shared.fence
    }

    fn disk_use(&self) -> BoxFuture<'_, Result<Option<DiskUse>, ReadError>> {
        let (folder, reserve_bytes) = (self.folder.clone(), self.reserve_bytes);
        Box::pin(self.read_disk(move |_| {
            let failed = |error: io::Error| ReadError::Failed(error.to_string());
            let stored_bytes = space::used_bytes(&folder).map_err(failed)?;
            let free_bytes = space::free_bytes(&folder).map_err(failed)?;
            Ok(Some(DiskUse { stored_bytes, free_bytes, reserve_bytes }))
        }))
    }

    fn declare(
        &self,
        stream: StreamName,
        partitions: NonZeroU32,
    ) -> BoxFuture<'_, Result<(), DeclareError>> {
        Box::pin(self.ask(move |reply| Request::Declare(stream, partitions, reply)))
    }

    fn open_producer(
        &self,
        producer: ProducerId,
        epoch: Epoch,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<OpenedProducer, CommitError>> {
        Box::pin(self.ask(move |reply| Request::OpenProducer(producer, epoch, now_ms, reply)))
    }

    fn forget_producers(&self, idle_since_ms: u64) -> BoxFuture<'_, Result<u64, CommitError>> {
        Box::pin(self.ask(move |reply| Request::ForgetProducers(idle_since_ms, reply)))
    }

    fn forget_longest_unseen(
        &self,
        count: usize,
        spared: HashSet<ProducerId>,
    ) -> BoxFuture<'_, Result<u64, CommitError>> {
        Box::pin(self.ask(move |reply| Request::ForgetLongestUnseen(count, spared, reply)))
    }

    fn commit(&self, unit: Unit) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(self.ask(move |reply| Request::Commit(unit, reply)))
    }

    fn trim(
        &self,
        partition: Partition,
        retention: Retention,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<TrimReport, CommitError>> {
        Box::pin(self.ask(move |reply| Request::Trim(partition, retention, now_ms, reply)))
    }

    fn bounds(&self, partition: &Partition) -> Result<Bounds, ReadError> {
        self.shared.place(partition).map(|(_, bounds)| bounds)
    }

    fn head(&self, partition: &Partition) -> Result<Head, ReadError> {
        self.shared.head(partition)
    }

    fn seek(&self, partition: Partition, seek: Seek) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move {
            let (key, bounds) = self.shared.place(&partition)?;
            match seek {
                Seek::Beginning => Ok(bounds.first),
                Seek::End => Ok(bounds.next),
                Seek::Time(ms) => self.read_disk(move |store| store.seek(key, bounds, ms)).await,
            }
        })
    }

    fn read(
        &self,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Chunk, ReadError>> {
        Box::pin(async move {
            let (key, bounds) = self.shared.place(&partition)?;
            bounds.check(&partition, from)?;
            if from == bounds.next {
                return Ok(Chunk { batches: Vec::new(), next: from });
            }
            let newest = self.shared.tail().read(&partition, from, bounds.next, limit);
            if let Some(chunk) = newest {
                return Ok(chunk);
            }
            let read = {
                let partition = partition.clone();
                move |store: &Store| store.read((&partition, key), bounds, from, limit)
            };
            let read = self.read_disk(read).await;
            // A trim may have come in between: then it is no damage.
            self.shared.place(&partition)?.1.check(&partition, from)?;
            read
        })
    }

    fn progress(
        &self,
        route: RouteName,
        source: Partition,
    ) -> BoxFuture<'_, Result<Option<Offset>, ReadError>> {
        Box::pin(async move {
            let (key, _) = self.shared.place(&source)?;
            self.read_disk(move |store| store.progress(key, &route)).await
        })
    }

    fn parked(
        &self,
        route: RouteName,
        source: Partition,
    ) -> BoxFuture<'_, Result<Vec<ParkedMessage>, ReadError>> {
        Box::pin(async move {
            let (key, _) = self.shared.place(&source)?;
            self.read_disk(move |store| store.parked((&source, key), &route)).await
        })
    }

    fn routes(&self) -> BoxFuture<'_, Result<Vec<KeptRoute>, ReadError>> {
        Box::pin(async move {
            let found = self.read_disk(Store::routes).await?;
            let partitions = self.shared.by_key();
            let kept = found.into_iter().map(|(key, route, progress, parked)| {
                let closed = || ReadError::Failed("storage is closed".to_owned());
                let source = partitions.get(&key).cloned().ok_or_else(closed)?;
                Ok(KeptRoute { route, source, progress, parked })
            });
            let mut kept: Vec<KeptRoute> = kept.collect::<Result<_, _>>()?;
            kept.sort_unstable_by(|one, other| {
                (&one.route, &one.source).cmp(&(&other.route, &other.source))
            });
            Ok(kept)
        })
    }

    fn forget_route(&self, route: RouteName) -> BoxFuture<'_, Result<Vec<KeptRoute>, CommitError>> {
        Box::pin(self.ask(move |reply| Request::ForgetRoute(route, reply)))
    }

    fn moved_back(&self) -> Vec<MovedBack> {
        self.moved_back.clone()
    }

    fn groups(&self) -> BoxFuture<'_, Result<Vec<GroupName>, ReadError>> {
        Box::pin(self.read_disk(Store::groups))
    }

    fn group(&self, group: GroupName) -> BoxFuture<'_, Result<Vec<KeptGroup>, ReadError>> {
        Box::pin(async move {
            let found = self.read_disk(move |store| store.group(&group)).await?;
            let partitions = self.shared.by_key();
            let kept = found.into_iter().map(|(key, revision, state)| {
                let closed = || ReadError::Failed("storage is closed".to_owned());
                let source = partitions.get(&key).cloned().ok_or_else(closed)?;
                Ok(KeptGroup { source, revision, state })
            });
            kept.collect()
        })
    }
}
