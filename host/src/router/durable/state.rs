//! What is told of a lane: how far it came, and what holds it up.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use waypost_core::Partition;
use waypost_protocol::Offset;

/// A lane as others see it.
#[derive(Debug)]
pub(in crate::router) struct LaneState {
    pub(in crate::router) partition: Partition,
    /// The offset that is read next, once its progress is known.
    progress: Mutex<Option<Offset>>,
    commits: AtomicU64,
    /// Messages that were gone before they were read.
    missed: AtomicU64,
    /// Messages that it parked and that wait still.
    parked: AtomicU64,
    /// Why nothing of it is committed, if so.
    stalled: Mutex<Option<String>>,
    /// Where each batch ends that was read and is not committed, and when it was taken in.
    pending: Mutex<VecDeque<(Offset, u64)>>,
    /// Its progress is stored, so that it misses nothing that is stored from now on.
    begun: watch::Sender<bool>,
}

impl LaneState {
    pub(in crate::router) fn new(partition: Partition) -> Self {
        Self {
            partition,
            progress: Mutex::default(),
            commits: AtomicU64::default(),
            missed: AtomicU64::default(),
            parked: AtomicU64::default(),
            stalled: Mutex::default(),
            pending: Mutex::default(),
            begun: watch::Sender::new(false),
        }
    }

    pub(in crate::router) fn progress(&self) -> Option<Offset> {
        *lock(&self.progress)
    }

    pub(in crate::router) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(in crate::router) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    pub(in crate::router) fn parked(&self) -> u64 {
        self.parked.load(Ordering::Relaxed)
    }

    pub(in crate::router) fn stalled(&self) -> Option<String> {
        lock(&self.stalled).clone()
    }

    /// When the oldest message was taken in that was read and is not through.
    pub(in crate::router) fn oldest_ms(&self) -> Option<u64> {
        lock(&self.pending).front().map(|(_, ingest_ms)| *ingest_ms)
    }

    /// Resolves when its progress is stored, or nothing can be.
    pub(in crate::router) async fn begun(&self) {
        // The sender is there as long as this is.
        drop(self.begun.subscribe().wait_for(|begun| *begun).await);
    }

    pub(super) fn begin(&self, progress: Option<Offset>) {
        *lock(&self.progress) = progress;
        self.begun.send_replace(true);
    }

    pub(super) fn read(&self, end: Offset, ingest_ms: u64) {
        lock(&self.pending).push_back((end, ingest_ms));
    }

    /// Everything before an offset is through, and that is committed.
    pub(super) fn committed(&self, progress: Offset) {
        *lock(&self.progress) = Some(progress);
        self.commits.fetch_add(1, Ordering::Relaxed);
        let mut pending = lock(&self.pending);
        while pending.front().is_some_and(|(end, _)| *end <= progress) {
            pending.pop_front();
        }
    }

    pub(super) fn miss(&self, messages: u64) {
        self.missed.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn set_parked(&self, parked: usize) {
        self.parked.store(parked as u64, Ordering::Relaxed);
    }

    pub(super) fn stall(&self, why: String) {
        *lock(&self.stalled) = Some(why);
    }

    /// Says whether it had stalled.
    pub(super) fn go_on(&self) -> bool {
        lock(&self.stalled).take().is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under these locks panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
