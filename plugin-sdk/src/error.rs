//! The one error of a plugin's functions: a text for whoever reads the dead letter or the refused deploy.

use std::{error::Error as StdError, fmt};

/// Why a plugin rejects a message or refuses its configuration: a text for people. Of a reject's text the
/// first 1,024 bytes are kept.
///
/// Any error converts into it with `?`, with the text of its causes behind its own. It is not an
/// error type itself, which is what lets every other one convert.
pub struct Error(Box<str>);

/// The result of a plugin's function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this text.
    ///
    /// ```
    /// use waypost_sdk::prelude::*;
    ///
    /// #[filter]
    /// fn short(message: &Message) -> Result<bool> {
    ///     match message.payload().len() {
    ///         0 => Err(Error::msg("the payload is empty")),
    ///         length => Ok(length <= 80),
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn msg(text: impl fmt::Display) -> Self {
        Self(text.to_string().into())
    }

    /// The same with what was being done before it: `context: text`.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self::msg(format_args!("{context}: {}", self.0))
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
        Self(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `unwrap` in a test prints it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
