//! Threads beside those of the router, for calls that take long or that may well fail.
//!
//! The router moves bytes on few threads, by default on one. A call begins there, because most calls take less than
//! a thread takes to wake another. One that sees its second tick goes on aside, where it shares threads of lower
//! priority with others of its kind, a tick each in turns; the router's own thread waits for it as for a socket.
//! Afterwards the version is suspect: all its calls and starts are made aside, until so many in a row were short and
//! good. A trap costs more than the call that meets it: a backtrace, an instance taken down, another one started.

use std::{
    future::{Future, poll_fn},
    io,
    num::NonZeroUsize,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
    thread::available_parallelism,
};

use rustix::process::nice;
use tokio::runtime::{Builder, Runtime};

use super::meter::CallClock;

/// Ticks that a call sees where it began.
const TICKS_IN_PLACE: u64 = 2;
/// Calls in a row that are to be short and good before a version is trusted again.
const PROBATION: u32 = 64;
/// How much less of a busy processor the threads get: a third of what the router's get.
const NICE: i32 = 5;

/// The threads.
#[derive(Debug)]
pub(super) struct Aside(Option<Runtime>);

impl Aside {
    /// Starts a thread for each processor but one, and one at least: what takes long shall never have all of them.
    pub(super) fn start() -> io::Result<Self> {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads((processors - 1).max(1))
            .thread_name("waypost-guests")
            .on_thread_start(|| {
                // Where it is refused, the threads keep the router's priority.
                let _ = nice(NICE);
            })
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Does some work there. `None` when it was interrupted, as it is when the sandbox goes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.0.as_ref()?.spawn(work).await.ok()
    }

    /// Drops something there.
    pub(super) fn leave(&self, what: impl Send + 'static) {
        if let Some(runtime) = &self.0 {
            drop(runtime.spawn(async move { drop(what) }));
        }
    }

    /// Makes a call of a version whose calls went so far as its conduct says, here as long as it is short.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        mut call: Pin<Box<impl Future<Output = T> + Send + 'static>>,
        clock: &CallClock,
        conduct: &Conduct,
    ) -> Option<T> {
        if !conduct.is_suspect() {
            let in_place = poll_fn(|context| match call.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if clock.ticks() >= TICKS_IN_PLACE => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            if let Some(output) = in_place.await {
                return Some(output);
            }
        }
        let output = self.run(call).await;
        conduct.note(clock.ticks() < TICKS_IN_PLACE);
        output
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Guests that run are ended at their next tick, and nobody waits for them.
            runtime.shutdown_background();
        }
    }
}

/// How the calls of a version went lately.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// Calls that are still to be made aside.
    probation: AtomicU32,
}

impl Conduct {
    /// Whether calls are made aside from their beginning.
    pub(super) fn is_suspect(&self) -> bool {
        self.probation.load(Ordering::Relaxed) > 0
    }

    /// A call ended; was it short and good?
    pub(super) fn note(&self, is_good: bool) {
        if is_good {
            let less = |probation: u32| probation.checked_sub(1);
            let _ = self.probation.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        } else {
            self.probation.store(PROBATION, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::{
        super::{SandboxLimits, meter::Meter},
        *,
    };

    /// Makes a call that sees so many ticks, and gives the name of the thread that it ran on after each.
    async fn threads(aside: &Aside, conduct: &Conduct, ticks: usize) -> Vec<String> {
        let mut meter = Meter::new(SandboxLimits::default());
        let clock = meter.begin();
        let mut names = Vec::new();
        let call = Box::pin(poll_fn(move |context| {
            names.push(thread::current().name().unwrap_or_default().to_owned());
            if names.len() > ticks {
                return Poll::Ready(std::mem::take(&mut names));
            }
            meter.tick(Instant::now()).expect("it is within its deadline");
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        aside.call(call, &clock, conduct).await.expect("it is not interrupted")
    }

    #[tokio::test]
    async fn a_call_goes_on_aside_from_its_second_tick_and_later_ones_begin_there() {
        let (aside, conduct) = (Aside::start().expect("threads start"), Conduct::default());
        let here = thread::current().name().unwrap_or_default().to_owned();
        let there = "waypost-guests";
        assert_eq!(threads(&aside, &conduct, 0).await, [&*here]);
        assert_eq!(threads(&aside, &conduct, 1).await, [&*here, &here]);
        assert!(!conduct.is_suspect());
        assert_eq!(threads(&aside, &conduct, 3).await, [&*here, &here, there, there]);
        for _ in 0..PROBATION {
            assert_eq!(threads(&aside, &conduct, 0).await, [there]);
        }
        assert_eq!(threads(&aside, &conduct, 0).await, [&*here]);
    }

    #[test]
    fn a_version_is_suspect_until_enough_calls_in_a_row_were_good() {
        let conduct = Conduct::default();
        conduct.note(true);
        assert!(!conduct.is_suspect());
        conduct.note(false);
        (1..PROBATION).for_each(|_| conduct.note(true));
        assert!(conduct.is_suspect());
        conduct.note(false);
        (1..PROBATION).for_each(|_| conduct.note(true));
        assert!(conduct.is_suspect());
        conduct.note(true);
        assert!(!conduct.is_suspect());
    }
}
