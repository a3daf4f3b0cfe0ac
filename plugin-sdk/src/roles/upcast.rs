//! What `#[upcast]` makes of a function between two versions.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Emitter, Error, Message, Result, Verdict,
    version::{Version, VersionFrom},
};

/// A step from one version to another, and which others pass.
#[derive(Debug)]
pub struct Step {
    place: VersionFrom,
    from: Version,
    to: Version,
    later: Vec<Version>,
}

impl Step {
    /// A step between these versions.
    ///
    /// # Errors
    ///
    /// One of the values is not a version.
    pub fn new(
        place: VersionFrom,
        from: Value,
        to: Value,
        later: impl IntoIterator<Item = Value>,
    ) -> Result<Self> {
        Ok(Self {
            place,
            from: from.try_into()?,
            to: to.try_into()?,
            later: later.into_iter().map(Version::try_from).collect::<Result<_>>()?,
        })
    }

    /// Lifts a message of the old version, forwards one of a later version.
    ///
    /// # Errors
    ///
    /// The message has no version, or an unknown one; its payload is not of the old version's type; the
    /// upcast's own.
    pub fn process<'a, Old: Deserialize<'a>>(
        &self,
        message: &Message<'a>,
        emitter: &mut Emitter<'_>,
        upcast: impl FnOnce(Old) -> Result<Value>,
    ) -> Result<Verdict> {
        let Some(version) = self.place.read(message)? else {
            return Err(Error::msg(format_args!(
                "the message has no version {}; known are {self}",
                self.place
            )));
        };
        if self.to.is(&version) || self.later.iter().any(|later| later.is(&version)) {
            return Ok(Verdict::Forward);
        }
        if !self.from.is(&version) {
            return Err(Error::msg(format_args!(
                "the version `{version}` {} is unknown; known are {self}",
                self.place
            )));
        }
        let old = message
            .json()
            .map_err(|error| error.context(format_args!("the version `{version}`")))?;
        emitter.emit(self.place.write(upcast(old)?, &self.to)?)?;
        Ok(Verdict::Emit)
    }
}

/// The versions that are known, for an error's text.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, `{}` (new)", self.from.as_str(), self.to.as_str())?;
        self.later.iter().try_for_each(|later| write!(f, ", `{}` (later)", later.as_str()))
    }
}

/// What an `#[upcast]` may return.
#[diagnostic::on_unimplemented(
    message = "an #[upcast] cannot return `{Self}`",
    label = "this must be a `Result` of the new version's type",
    note = "the type derives `Serialize`; an error rejects the message"
)]
pub trait UpcastResult {
    /// The new version's payload.
    ///
    /// # Errors
    ///
    /// The function's own; the value cannot be JSON.
    fn new_version(self) -> Result<Value>;
}

impl<New: Serialize, E: Into<Error>> UpcastResult for Result<New, E> {
    fn new_version(self) -> Result<Value> {
        Ok(serde_json::to_value(self.map_err(Into::into)?)?)
    }
}
