//! What a guest takes: running time, memory, tables.
//!
//! Guests run on fibres and yield at each tick of the engine's epoch, so that other tasks of their thread
//! go on. Running time is the thread's CPU time, read at ticks alone: a call that ends before its first
//! tick pays nothing for being metered.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, ResourceLimiter};
use waypost_protocol::ErrorCode;

use super::SandboxLimits;

/// How often a running guest yields. Also the precision of deadlines.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// A guest may take so much longer on the wall clock than it may run, not counting where others ran instead.
const WALL_CLOCK_FACTOR: u32 = 10;
/// Instances, memories and tables that one plugin may be made of.
const PARTS: usize = 16;

/// A limit that a guest went over; it ends the call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitHit {
    #[error("the plugin ran for {} ms on one batch, its deadline is {} ms", ran.as_millis(), deadline.as_millis())]
    Deadline { ran: Duration, deadline: Duration },
    #[error(
        "the plugin did not end within {} ms on the wall clock, ten times its deadline",
        cap.as_millis()
    )]
    WallClock { cap: Duration },
    #[error("the plugin wanted {wanted} bytes of memory, its limit is {limit}")]
    Memory { wanted: usize, limit: usize },
    #[error("the plugin wanted {wanted} table elements, its limit is {limit}")]
    Table { wanted: usize, limit: usize },
}

impl LimitHit {
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Deadline { .. } | Self::WallClock { .. } => ErrorCode::PluginTimeout,
            Self::Memory { .. } | Self::Table { .. } => ErrorCode::PluginMemory,
        }
    }
}

/// One store's account.
#[derive(Debug)]
pub(super) struct Meter {
    limits: SandboxLimits,
    memory: usize,
    table: usize,
    clock: Arc<CallClock>,
}

/// The running time of the call at hand, shared with the future that polls it.
#[derive(Debug, Default)]
pub(super) struct CallClock {
    /// Ticks that this call has seen.
    ticks: AtomicU64,
    /// Nanoseconds that it ran for, up to the last tick.
    ran: AtomicU64,
    /// The thread's CPU time when the guest was last resumed.
    resumed: AtomicU64,
    /// Nanoseconds that it waited for to be resumed.
    waited: AtomicU64,
}

impl CallClock {
    /// Ticks that the call at hand has seen.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}

impl Meter {
    pub(super) fn new(limits: SandboxLimits) -> Self {
        Self { limits, memory: 0, table: 0, clock: Arc::default() }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// Begins a call; the result is to be given to [`metered`].
    pub(super) fn begin(&mut self) -> Arc<CallClock> {
        self.clock.ticks.store(0, Ordering::Relaxed);
        self.clock.ran.store(0, Ordering::Relaxed);
        self.clock.waited.store(0, Ordering::Relaxed);
        self.clock.clone()
    }

    pub(super) fn clock(&self) -> Arc<CallClock> {
        self.clock.clone()
    }

    /// What a tick of the running guest means.
    pub(super) fn tick(&mut self, started: Instant) -> Result<(), LimitHit> {
        let clock = &self.clock;
        let now = thread_time();
        let since = if clock.ticks.fetch_add(1, Ordering::Relaxed) == 0 {
            // When the call began was not noted, but it was within this tick.
            duration_nanos(TICK)
        } else {
            now.saturating_sub(clock.resumed.load(Ordering::Relaxed))
        };
        clock.resumed.store(now, Ordering::Relaxed);
        let ran = Duration::from_nanos(clock.ran.fetch_add(since, Ordering::Relaxed) + since);
        let deadline = self.limits.deadline;
        if ran >= deadline {
            return Err(LimitHit::Deadline { ran, deadline });
        }
        let cap = deadline.saturating_mul(WALL_CLOCK_FACTOR);
        let waited = Duration::from_nanos(clock.waited.load(Ordering::Relaxed));
        if started.elapsed().saturating_sub(waited) >= cap {
            return Err(LimitHit::WallClock { cap });
        }
        Ok(())
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_add(desired.saturating_sub(current));
        let limit = self.limits.memory_bytes;
        if wanted > limit {
            return Err(LimitHit::Memory { wanted, limit }.into());
        }
        self.memory = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.table.saturating_add(desired.saturating_sub(current));
        let limit = self.limits.table_elements;
        if wanted > limit {
            return Err(LimitHit::Table { wanted, limit }.into());
        }
        self.table = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }
}

/// Runs a call, and notes when a guest that has seen a tick is resumed, so that what other tasks run in
/// between is not counted.
pub(super) async fn metered<F: Future>(clock: Arc<CallClock>, call: F) -> F::Output {
    let mut call = pin!(call);
    let mut suspended = None;
    poll_fn(|context| {
        if clock.ticks() > 0 {
            clock.resumed.store(thread_time(), Ordering::Relaxed);
        }
        if let Some(suspended) = suspended.take() {
            let waited = duration_nanos(Instant::elapsed(&suspended));
            clock.waited.fetch_add(waited, Ordering::Relaxed);
        }
        let polled = call.as_mut().poll(context);
        if polled.is_pending() {
            suspended = Some(Instant::now());
        }
        polled
    })
    .await
}

fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn duration_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The thread that advances the engine's epoch.
#[derive(Debug)]
pub(super) struct Ticker {
    stopping: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: Engine) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let run = move || {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                engine.increment_epoch();
            }
        };
        let thread = thread::Builder::new().name("waypost-epoch".into()).spawn(run)?;
        Ok(Self { stopping, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within a tick; a panic of its own has nothing to tell.
            let _ = thread.join();
        }
    }
}
