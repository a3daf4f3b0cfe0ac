//! Whether the router is ready: what `/readyz` says.

use std::sync::atomic::{AtomicU8, Ordering};

/// The router's life: Starting => Ready => Draining.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

/// Where the router is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Plugins are loaded, nothing is accepted yet.
    Starting,
    /// It routes.
    Ready,
    /// It finishes what it has and accepts nothing new.
    Draining,
}

impl Lifecycle {
    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    /// The phase at this moment.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

impl Phase {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}
