//! What the attribute macros make of a function's result; they name this module, users do not.
//!
//! Each role has a trait of the results that its function may return. It stands before the values that
//! they hold so that the compiler, where one does not fit, says what does.

mod upcast;

pub use upcast::{Step, UpcastResult};

use crate::{Emitter, Error, Outgoing, Result, Verdict};

/// What a `#[filter]` may return.
#[diagnostic::on_unimplemented(
    message = "a #[filter] cannot return `{Self}`",
    label = "this must be `Result<bool>`",
    note = "`Ok(true)` lets the message go on, `Ok(false)` drops it, an error rejects it"
)]
pub trait FilterResult {
    /// What becomes of the message.
    ///
    /// # Errors
    ///
    /// The function's own.
    fn verdict(self) -> Result<Verdict>;
}

impl<E: Into<Error>> FilterResult for Result<bool, E> {
    fn verdict(self) -> Result<Verdict> {
        Ok(if self.map_err(Into::into)? { Verdict::Forward } else { Verdict::Drop })
    }
}

/// What a `#[transform]` may return.
#[diagnostic::on_unimplemented(
    message = "a #[transform] cannot return `{Self}`",
    label = "this must be a `Result` of `Outgoing`, `Option<Outgoing>` or `Vec<Outgoing>`",
    note = "what is returned replaces the message, nothing drops it, an error rejects it"
)]
pub trait TransformResult {
    /// Emits what the function made, and gives the verdict.
    ///
    /// # Errors
    ///
    /// The function's own; a message that cannot be emitted.
    fn emit(self, emitter: &mut Emitter<'_>) -> Result<Verdict>;
}

impl<M: IntoOutgoing, E: Into<Error>> TransformResult for Result<M, E> {
    fn emit(self, emitter: &mut Emitter<'_>) -> Result<Verdict> {
        emitter.emit_all(self.map_err(Into::into)?.into_outgoing())?;
        Ok(if emitter.is_empty() { Verdict::Drop } else { Verdict::Emit })
    }
}

/// What a `#[router]` may return.
#[diagnostic::on_unimplemented(
    message = "a #[router] cannot return `{Self}`",
    label = "this must be a `Result` of `String`, `&str` or an `Option` of either",
    note = "the text is the topic that the message goes to, `None` leaves it on its own, an error rejects it"
)]
pub trait RouterResult {
    /// Emits the message on its new topic, and gives the verdict.
    ///
    /// # Errors
    ///
    /// The function's own.
    fn route(self, emitter: &mut Emitter<'_>) -> Result<Verdict>;
}

impl<T: IntoTopic, E: Into<Error>> RouterResult for Result<T, E> {
    fn route(self, emitter: &mut Emitter<'_>) -> Result<Verdict> {
        match self.map_err(Into::into)?.into_topic() {
            Some(topic) => {
                emitter.emit(Outgoing::new().topic(topic))?;
                Ok(Verdict::Emit)
            }
            None => Ok(Verdict::Forward),
        }
    }
}

/// What the result of a `#[transform]` may hold: one message, one or none, any number.
#[diagnostic::on_unimplemented(
    message = "a #[transform] cannot return a `Result` of `{Self}`",
    label = "this must be a `Result` of `Outgoing`, `Option<Outgoing>` or `Vec<Outgoing>`",
    note = "`Outgoing::new().json(&value)?` is the message with this value for its payload"
)]
pub trait IntoOutgoing {
    /// The messages, in order.
    fn into_outgoing(self) -> impl IntoIterator<Item = Outgoing>;
}

impl IntoOutgoing for Outgoing {
    fn into_outgoing(self) -> impl IntoIterator<Item = Outgoing> {
        [self]
    }
}

impl IntoOutgoing for Option<Outgoing> {
    fn into_outgoing(self) -> impl IntoIterator<Item = Outgoing> {
        self
    }
}

impl IntoOutgoing for Vec<Outgoing> {
    fn into_outgoing(self) -> impl IntoIterator<Item = Outgoing> {
        self
    }
}

impl<const COUNT: usize> IntoOutgoing for [Outgoing; COUNT] {
    fn into_outgoing(self) -> impl IntoIterator<Item = Outgoing> {
        self
    }
}

/// What the result of a `#[router]` may hold: a topic, or none to leave the message on its own.
#[diagnostic::on_unimplemented(
    message = "a #[router] cannot return a `Result` of `{Self}`",
    label = "this must be a `Result` of `String`, `&str` or an `Option` of either",
    note = "the text is the topic that the message goes to, `None` leaves it on its own"
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
