//! The one error of a plugin's functions: a text for whoever reads the dead letter or the refused deploy,
//! or the wish to see the message again later.

use std::{error::Error as StdError, fmt, time::Duration};

/// Why a plugin does not take a message, or refuses its configuration: a text for people. Of a reject's
/// text the first 1,024 bytes are kept.
///
/// Returned by a plugin's function it rejects the message; one made by
/// [`retry_after`](Self::retry_after) has it handed over again instead.
///
/// Any error converts into it with `?`, with the text of its causes behind its own. It is not an
/// error type itself, which is what lets every other one convert.
pub struct Error {
    text: Box<str>,
    retry_after: Option<Duration>,
}

/// The result of a plugin's function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this text. [`reject!`](crate::reject) makes one from a format and returns it.
    ///
    /// ```
    /// use waypost_sdk::prelude::*;
    ///
    /// #[filter]
    /// fn short(message: &Message) -> Result<bool> {
    ///     let length: usize = message.payload_str()?.parse().map_err(|_| Error::msg("no length"))?;
    ///     Ok(length <= 80)
    /// }
    /// ```
    #[must_use]
    pub fn msg(text: impl fmt::Display) -> Self {
        Self { text: text.to_string().into(), retry_after: None }
    }

    /// Not now: the router shall hand the message over again after this time, in whole milliseconds.
    /// How often it does so before it gives up is the route's retry policy.
    ///
    /// ```
    /// use waypost_sdk::prelude::*;
    ///
    /// /// Holds a message back until its time has come.
    /// #[filter(reads(headers), imports(clock))]
    /// fn due(message: &Message) -> Result<bool> {
    ///     let Some(due) = message.header("due-ms") else { return Ok(true) };
    ///     let due: u64 = str::from_utf8(due)?.parse()?;
    ///     match due.saturating_sub(clock::now_ms()) {
    ///         0 => Ok(true),
    ///         left => Err(Error::retry_after(Duration::from_millis(left))),
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn retry_after(delay: Duration) -> Self {
        Self {
            text: format!("the plugin asks for another try after {delay:?}").into(),
            retry_after: Some(delay),
        }
    }

    /// The same with what was being done before it: `context: text`.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self { text: format!("{context}: {}", self.text).into(), ..self }
    }

    /// After which time the message shall come again, when that is what is asked for.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl<E: StdError> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self::msg(text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// `unwrap` in a test prints it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns from the function with an error of this text, which rejects the message: it becomes a dead
/// letter with the text for its reason, and is never tried again. It takes what `format!` takes.
///
/// ```
/// use waypost_sdk::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Order {
///     id: u64,
///     lines: Vec<String>,
/// }
///
/// #[filter(reads(payloads))]
/// fn complete(message: &Message) -> Result<bool> {
///     let order: Order = message.json()?;
///     if order.lines.is_empty() {
///         reject!("the order {} has no lines", order.id);
///     }
///     Ok(true)
/// }
/// ```
#[macro_export]
macro_rules! reject {
    ($($reason:tt)+) => {
        return ::std::result::Result::Err($crate::Error::msg(::std::format_args!($($reason)+)))
    };
    () => {
        return ::std::result::Result::Err(::std::compile_error!(
            "say why: reject!(\"the order {id} has no lines\")"
        ))
    };
}
