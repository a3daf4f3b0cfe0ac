//! The general form of a plugin, which the attribute macros fill in for the usual ones.

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};

use crate::{Emitter, Manifest, Message, Result};

/// A plugin in its general form.
///
/// An instance belongs to one lane of one route and sees its messages in order. It may keep state in
/// its fields, which ends with the instance: after a failure, a new version or a restart there is a new
/// one.
///
/// ```
/// use waypost_sdk::{Manifest, NoConfig, Reads, Role, prelude::*};
///
/// /// Sends each line of a payload as a message of its own.
/// struct Lines;
///
/// impl Plugin for Lines {
///     type Config = NoConfig;
///
///     fn manifest() -> Manifest {
///         Manifest {
///             name: "lines",
///             version: "1.0.0",
///             role: Role::General,
///             reads: Reads { payloads: true, ..Reads::NONE },
///             imports: &[],
///             deterministic: true,
///         }
///     }
///
///     fn new(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
///
///     fn process(&mut self, message: &Message<'_>, emitter: &mut Emitter<'_>) -> Result<Verdict> {
///         for line in message.payload_str()?.lines() {
///             emitter.emit(Outgoing::new().payload(line))?;
///         }
///         Ok(if emitter.is_empty() { Verdict::Drop } else { Verdict::Emit })
///     }
/// }
///
/// waypost_sdk::export!(Lines);
/// ```
pub trait Plugin: Sized {
    /// The stage's `config` table; [`NoConfig`] when there is none.
    type Config: DeserializeOwned;

    /// What the router must know before it runs the plugin.
    fn manifest() -> Manifest;

    /// An instance with this configuration.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense; the deploy is refused with the error's text.
    fn new(config: Self::Config) -> Result<Self>;

    /// Decides what becomes of a message.
    ///
    /// # Errors
    ///
    /// The message is rejected: it becomes a dead letter with the error's text, and what it had emitted
    /// is discarded.
    fn process(&mut self, message: &Message<'_>, emitter: &mut Emitter<'_>) -> Result<Verdict>;
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on unchanged.
    Forward,
    /// It ends here, on purpose.
    Drop,
    /// What was emitted for it, at least one message, replaces it.
    Emit,
    /// The router shall hand it over again after this time, in whole milliseconds. What was emitted for
    /// it is discarded.
    Retry(Duration),
}

/// The configuration of a plugin that has none; any key is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
