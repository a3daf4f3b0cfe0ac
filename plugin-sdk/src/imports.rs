//! What a plugin may ask of the router. Off Wasm each has a stand-in, for tests.

/// Lines for the router's log, under the plugin's name. They are bounded: what is over the limit is
/// dropped and counted.
pub mod log {
    /// How much a line matters.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Level {
        /// Every step.
        Trace,
        /// For whoever looks for a fault.
        Debug,
        /// Worth knowing.
        Info,
        /// Something is not as it should be.
        Warn,
        /// Something failed.
        Error,
    }

    /// Writes a line at `trace`.
    pub fn trace(text: impl AsRef<str>) {
        write(Level::Trace, text.as_ref());
    }

    /// Writes a line at `debug`.
    pub fn debug(text: impl AsRef<str>) {
        write(Level::Debug, text.as_ref());
    }

    /// Writes a line at `info`.
    pub fn info(text: impl AsRef<str>) {
        write(Level::Info, text.as_ref());
    }

    /// Writes a line at `warn`.
    pub fn warn(text: impl AsRef<str>) {
        write(Level::Warn, text.as_ref());
    }

    /// Writes a line at `error`.
    pub fn error(text: impl AsRef<str>) {
        write(Level::Error, text.as_ref());
    }

    /// Writes a line. In native tests it goes to standard error.
    pub fn write(level: Level, text: &str) {
        #[cfg(target_arch = "wasm32")]
        {
            use crate::bindings::waypost::plugin::log;
            let level = match level {
                Level::Trace => log::Level::Trace,
                Level::Debug => log::Level::Debug,
                Level::Info => log::Level::Info,
                Level::Warn => log::Level::Warn,
                Level::Error => log::Level::Error,
            };
            log::write(level, text);
        }
        #[cfg(not(target_arch = "wasm32"))]
        eprintln!("{level:?}: {text}");
    }
}

/// The time. The manifest's `imports` must name `clock`.
pub mod clock {
    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms() -> u64 {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::waypost::plugin::clock::now();
        #[cfg(not(target_arch = "wasm32"))]
        std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Chance. The manifest's `imports` must name `random`.
pub mod random {
    /// Eight bytes that nobody can foresee.
    #[must_use]
    pub fn next_u64() -> u64 {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::waypost::plugin::random::next();
        #[cfg(not(target_arch = "wasm32"))]
        {
            use std::hash::{BuildHasher, RandomState};
            // Each state has keys of its own, drawn from the system's randomness.
            RandomState::new().hash_one(0)
        }
    }
}

/// Counters, which the router shows at `/metrics` under the plugin's name. The manifest's `imports` must
/// name `metrics`.
pub mod metrics {
    /// Adds to a counter; the name is `[a-z_]+`, at most 64 bytes. In native tests it does nothing.
    pub fn add(counter: &str, amount: u64) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::waypost::plugin::metrics::add(counter, amount);
        #[cfg(not(target_arch = "wasm32"))]
        let _ = (counter, amount);
    }
}
