//! How far long work is, on a line of a terminal that is drawn again and again and goes away in the end.
//!
//! There is none where the standard error is no terminal, and it has no colours. Whatever else is written
//! to the standard error meanwhile goes by [`Stderr`], which takes the line away first.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use indicatif::{
    FormattedDuration, HumanBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

/// Work that is done sooner shows nothing.
const DELAY: Duration = Duration::from_millis(500);
/// How often what waits without news is drawn.
const TICK: Duration = Duration::from_millis(100);

const SIZED: &str = "{wide_bar} {bytes}/{total_bytes}, {lines} lines, {rate}/s, {left} to go";
const UNSIZED: &str = "{spinner} {bytes}, {lines} lines, {rate}/s";
const WAITING: &str = "{spinner} {msg}, {elapsed}";

/// The line that is drawn now: a terminal has room for one.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A line that says how far work is, until it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    lines: Arc<AtomicU64>,
    is_possible: bool,
}

impl Progress {
    /// Over an input that has so many bytes, if that is known.
    pub(super) fn of_lines(bytes: Option<u64>) -> Self {
        let lines = Arc::new(AtomicU64::new(0));
        let shown = lines.clone();
        let template = if bytes.is_some() { SIZED } else { UNSIZED };
        // Nobody learns of what cannot be written. The rate is not the library's, which is that of the last
        // seconds and far too low at first.
        let style = style(template)
            .with_key("lines", move |_: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{}", shown.load(Ordering::Relaxed));
            })
            .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{}", HumanBytes(rate(state.pos(), state.elapsed())));
            })
            .with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
                let of = state.len().unwrap_or_default();
                let left = left(state.pos(), of, state.elapsed());
                let _ = write!(out, "{}", FormattedDuration(left));
            });
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::hidden());
        Self { bar: bar.with_style(style), lines, is_possible: is_possible() }
    }

    /// Over something that nobody knows the end of.
    pub(super) fn of_wait(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let progress = Self {
            bar: bar.with_style(style(WAITING)).with_message(what),
            lines: Arc::default(),
            is_possible: is_possible(),
        };
        if progress.is_possible {
            progress.draw();
            progress.bar.enable_steady_tick(TICK);
        }
        progress
    }

    /// So many bytes and lines of the input are done.
    pub(super) fn advance(&self, bytes: u64, lines: u64) {
        if !self.is_possible {
            return;
        }
        self.lines.store(lines, Ordering::Relaxed);
        self.bar.set_position(bytes);
        if self.bar.is_hidden() && self.bar.elapsed() > DELAY {
            self.draw();
        }
    }

    fn draw(&self) {
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        *drawn() = Some(self.bar.clone());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_possible {
            *drawn() = None;
            self.bar.finish_and_clear();
        }
    }
}

/// Tells something in a line of its own on the standard error.
pub(super) fn tell(line: &str) {
    // Like `eprintln!`, but it has nowhere to complain.
    let _ = writeln!(Stderr, "{line}");
}

/// The standard error, beside a line that may be drawn there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match drawn().as_ref() {
            Some(bar) => bar.suspend(|| io::stderr().write(text)),
            None => io::stderr().write(text),
        }
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        // In one piece, so that nothing is drawn between its parts.
        self.write_all(fmt::format(text).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn drawn() -> MutexGuard<'static, Option<ProgressBar>> {
    // What it holds is whole at any time.
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes a second since the beginning, of so many.
fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(bytes) * 1000 / elapsed.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// How long the rest takes at that rate.
fn left(bytes: u64, of: u64, elapsed: Duration) -> Duration {
    Duration::from_secs(of.saturating_sub(bytes) / rate(bytes, elapsed).max(1))
}

/// Whether somebody looks at a terminal that can draw a line again.
fn is_possible() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A template of ours, which is sound; were it not, a plain bar would do.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in [SIZED, UNSIZED, WAITING] {
            ProgressStyle::with_template(template).expect(template);
        }
    }

    #[test]
    fn the_rate_is_the_mean_since_the_beginning() {
        let second = Duration::from_secs(1);
        assert_eq!((rate(0, second), rate(500, second), rate(500, second / 2)), (0, 500, 1000));
        assert_eq!(rate(7, Duration::ZERO), 7000);
        assert_eq!(left(500, 2000, second), 3 * second);
        assert_eq!((left(0, 9, second), left(9, 9, second)), (9 * second, Duration::ZERO));
        assert_eq!(left(9, 3, second), Duration::ZERO, "a file that grows");
    }

    #[test]
    fn a_test_has_no_terminal_and_draws_nothing() {
        let mut progress = Progress::of_lines(Some(10));
        progress.is_possible = false;
        progress.advance(5, 1);
        assert!(progress.bar.is_hidden() && drawn().is_none());
    }
}
