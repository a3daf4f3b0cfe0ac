//! What the attribute macros make of a function's result; they name this module, users do not.

use crate::{Emitter, Outgoing, Result, Verdict};

/// What a `#[filter]` returned.
///
/// # Errors
///
/// The function's own.
pub fn filter(result: Result<bool>) -> Result<Verdict> {
    Ok(if result? { Verdict::Forward } else { Verdict::Drop })
}

/// What a `#[transform]` returned.
///
/// # Errors
///
/// The function's own; a message that cannot be emitted.
pub fn transform<M: IntoOutgoing>(result: Result<M>, emitter: &mut Emitter<'_>) -> Result<Verdict> {
    result?.emit(emitter)?;
    Ok(if emitter.is_empty() { Verdict::Drop } else { Verdict::Emit })
}

/// What a `#[router]` returned.
///
/// # Errors
///
/// The function's own.
pub fn router<T: IntoTopic>(result: Result<T>, emitter: &mut Emitter<'_>) -> Result<Verdict> {
    match result?.into_topic() {
        Some(topic) => {
            emitter.emit(Outgoing::new().topic(topic))?;
            Ok(Verdict::Emit)
        }
        None => Ok(Verdict::Forward),
    }
}

/// What a `#[transform]` may return: one message, one or none, any number.
#[diagnostic::on_unimplemented(
    message = "a #[transform] cannot return Result<{Self}>",
    note = "return Result<Outgoing>, Result<Option<Outgoing>> or Result<Vec<Outgoing>>"
)]
pub trait IntoOutgoing {
    /// Emits them in order.
    ///
    /// # Errors
    ///
    /// A message that cannot be emitted.
    fn emit(self, emitter: &mut Emitter<'_>) -> Result<()>;
}

impl IntoOutgoing for Outgoing {
    fn emit(self, emitter: &mut Emitter<'_>) -> Result<()> {
        emitter.emit(self)
    }
}

impl IntoOutgoing for Option<Outgoing> {
    fn emit(self, emitter: &mut Emitter<'_>) -> Result<()> {
        self.into_iter().try_for_each(|message| emitter.emit(message))
    }
}

impl IntoOutgoing for Vec<Outgoing> {
    fn emit(self, emitter: &mut Emitter<'_>) -> Result<()> {
        self.into_iter().try_for_each(|message| emitter.emit(message))
    }
}

/// What a `#[router]` may return: a topic, or none to leave the message on its own.
#[diagnostic::on_unimplemented(
    message = "a #[router] cannot return Result<{Self}>",
    note = "return Result<String>, Result<&str> or an Option of either"
)]
pub trait IntoTopic {
    /// The topic.
    fn into_topic(self) -> Option<String>;
}

impl IntoTopic for String {
    fn into_topic(self) -> Option<String> {
        Some(self)
    }
}

impl IntoTopic for &str {
    fn into_topic(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl<T: IntoTopic> IntoTopic for Option<T> {
    fn into_topic(self) -> Option<String> {
        self.and_then(IntoTopic::into_topic)
    }
}
