//! Watches the writer. Before a commit returns the library waits while too much is to be written into tables; if
//! the thread that does it has ended by an error, that is for ever, and nobody would be told of the error.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::store::Store;
use crate::Fence;

/// How long a commit may take before the library is asked whether it is well, and how often.
const PATIENCE: Duration = Duration::from_secs(5);

/// A thread that raises the fence when a commit waits in vain.
#[derive(Debug)]
pub(super) struct Watch {
    since: Arc<Mutex<Option<Instant>>>,
    stop: SyncSender<()>,
    thread: thread::JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(store: Store, fence: Fence) -> io::Result<Self> {
        let since = Arc::new(Mutex::new(None));
        let (stop, stopped) = sync_channel(1);
        let watched = since.clone();
        let watch = move || {
            while stopped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let since: Option<Instant> =
                    *watched.lock().unwrap_or_else(PoisonError::into_inner);
                if since.is_some_and(|since| since.elapsed() >= PATIENCE)
                    && let Err(error) = store.health()
                {
                    fence.raise(&format!("a commit waits, and the library failed: {error}"));
                }
            }
        };
        let thread = thread::Builder::new().name("storage-watch".into()).spawn(watch)?;
        Ok(Self { since, stop, thread })
    }

    /// Watches this work.
    pub(super) fn over<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(Some(Instant::now()));
        let done = work();
        self.set(None);
        done
    }

    pub(super) fn end(self) {
        drop(self.stop);
        // It does nothing that panics, and nobody asks any more.
        drop(self.thread.join());
    }

    fn set(&self, since: Option<Instant>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}
