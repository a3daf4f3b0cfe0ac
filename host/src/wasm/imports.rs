//! What the host offers to guests: log, clock, random, metrics.

use std::time::Instant;

use waypost_core::PluginName;

use super::{
    SandboxLimits,
    bindings::waypost::plugin::{clock, log, metrics, random, types},
    meter::Meter,
    metrics::SandboxMetrics,
};

/// A line of a guest is cut to so many bytes.
const MAX_LINE_BYTES: usize = 4096;
/// The text of a panic is cut to so many bytes.
const MAX_PANIC_BYTES: usize = 2048;
/// Counters that one call may touch.
const MAX_COUNTERS: usize = 64;

/// The data of a guest's store.
#[derive(Debug)]
pub(super) struct Guest {
    plugin: PluginName,
    stage: String,
    pub(super) meter: Meter,
    pub(super) started: Instant,
    /// The text of the panic that a trap follows.
    pub(super) panicked: Option<String>,
    log: LogBudget,
    /// Counted by the call at hand; a call that fails has counted nothing.
    counted: Vec<(String, u64)>,
}

/// What an instance may still log in this second.
#[derive(Debug)]
struct LogBudget {
    per_second: u32,
    since: Instant,
    left: u32,
    dropped: u64,
}

impl Guest {
    pub(super) fn new(plugin: PluginName, stage: String, limits: SandboxLimits) -> Self {
        let per_second = limits.log_bytes_per_second;
        let started = Instant::now();
        Self {
            plugin,
            stage,
            meter: Meter::new(limits),
            started,
            panicked: None,
            log: LogBudget { per_second, since: started, left: per_second, dropped: 0 },
            counted: Vec::new(),
        }
    }

    /// Adds what a call that succeeded has counted.
    pub(super) fn commit_counters(&mut self, metrics: &SandboxMetrics) {
        for (counter, amount) in self.counted.drain(..) {
            metrics.count(&self.plugin, &counter, amount);
        }
    }

    /// The number of lines that were dropped since the last time.
    pub(super) fn take_dropped_lines(&mut self) -> u64 {
        std::mem::take(&mut self.log.dropped)
    }
}

impl LogBudget {
    fn allows(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        if now.duration_since(self.since).as_secs() >= 1 {
            self.since = now;
            self.left = self.per_second;
        }
        let left = u32::try_from(bytes).ok().and_then(|bytes| self.left.checked_sub(bytes));
        match left {
            Some(left) => self.left = left,
            None => self.dropped += 1,
        }
        left.is_some()
    }
}

pub(super) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

impl types::Host for Guest {}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, text: String) {
        let text = cut(&text, MAX_LINE_BYTES);
        if !self.log.allows(text.len()) {
            return;
        }
        let (plugin, stage) = (self.plugin.as_str(), self.stage.as_str());
        match level {
            log::Level::Trace => tracing::trace!(target: "plugin", plugin, stage, "{text}"),
            log::Level::Debug => tracing::debug!(target: "plugin", plugin, stage, "{text}"),
            log::Level::Info => tracing::info!(target: "plugin", plugin, stage, "{text}"),
            log::Level::Warn => tracing::warn!(target: "plugin", plugin, stage, "{text}"),
            log::Level::Error => tracing::error!(target: "plugin", plugin, stage, "{text}"),
        }
    }

    fn panicked(&mut self, text: String) {
        self.panicked = Some(cut(&text, MAX_PANIC_BYTES).to_owned());
    }
}

impl clock::Host for Guest {
    fn now(&mut self) -> u64 {
        crate::time::now_ms()
    }
}

impl random::Host for Guest {
    fn next(&mut self) -> u64 {
        rand::random()
    }
}

impl metrics::Host for Guest {
    fn add(&mut self, counter: String, amount: u64) {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        if counter.is_empty() || counter.len() > 64 || !counter.bytes().all(allowed) {
            return;
        }
        let has_room = self.counted.len() < MAX_COUNTERS;
        match self.counted.iter_mut().find(|(known, _)| *known == counter) {
            Some((_, sum)) => *sum = sum.saturating_add(amount),
            None if has_room => self.counted.push((counter, amount)),
            None => {}
        }
    }
}
