//! Lines for the router's log, under the plugin's name. They are bounded: what is over the limit is
//! dropped and counted.
//!
//! [`log!`](macro@crate::log) formats a line; the functions here take a text that is there already.

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
    super::native::log(level, text);
}

/// Writes a line to the router's log: the level, then what `format!` takes. The levels are `trace`,
/// `debug`, `info`, `warn` and `error`.
///
/// ```
/// use waypost_sdk::prelude::*;
///
/// #[filter(reads(payloads))]
/// fn has_payload(message: &Message) -> Result<bool> {
///     let length = message.payload().len();
///     log!(debug, "a payload of {length} bytes");
///     Ok(length > 0)
/// }
/// ```
#[macro_export]
macro_rules! log {
    (trace, $($text:tt)+) => { $crate::log::trace(::std::format!($($text)+)) };
    (debug, $($text:tt)+) => { $crate::log::debug(::std::format!($($text)+)) };
    (info, $($text:tt)+) => { $crate::log::info(::std::format!($($text)+)) };
    (warn, $($text:tt)+) => { $crate::log::warn(::std::format!($($text)+)) };
    (error, $($text:tt)+) => { $crate::log::error(::std::format!($($text)+)) };
    ($($other:tt)*) => {
        ::std::compile_error!(
            "write a level and a text: log!(info, \"{count} seen\"); the levels are trace, debug, info, \
             warn and error"
        )
    };
}
