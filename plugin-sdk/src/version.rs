//! Versions of payloads: where a message carries its own, and where an upcast writes the new one.
//!
//! [`upcast`](macro@crate::upcast) uses them for a plugin whose versions are types, the ready plugin
//! `schema-upcast` for steps that stand in its configuration.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Error, Message, Outgoing, Result,
    json::{Document as _, Found, Number, Pointer, Pointers},
};

/// A version: a whole number or a text. As a header's value both are text, so `2` and `"2"` are the same
/// version; where one is written it looks as it does in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub struct Version {
    text: String,
    value: Value,
}

impl Version {
    /// The version as a header holds it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a message says that it is of this version.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

impl TryFrom<Value> for Version {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self> {
        let text = match &value {
            Value::Number(number) => number.as_u64().as_ref().map(ToString::to_string),
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let text = text.ok_or_else(|| {
            Error::msg(format_args!(
                "{value} is not a version: it is a whole number, or a text in quotes such as \"1.2\""
            ))
        })?;
        Ok(Self { text, value })
    }
}

/// Where a message carries its version; as a text, that place in words. In a configuration it is
/// `{ pointer = "/version" }` or `{ header = "schema-version" }`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct VersionFrom(Place);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    Header(HeaderName),
    Pointer(Pointed),
}

/// A header's name that can be one.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct HeaderName(String);

impl TryFrom<String> for HeaderName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Error::msg(format_args!(
                "`{name}` cannot be a header's name: use 1 to 255 visible ASCII characters"
            )));
        }
        Ok(Self(name))
    }
}

/// A pointer and what finds it.
#[derive(Debug, Deserialize)]
#[serde(from = "Pointer")]
struct Pointed {
    pointer: Pointer,
    pointers: Pointers,
}

impl From<Pointer> for Pointed {
    fn from(pointer: Pointer) -> Self {
        Self { pointers: Pointers::new([&pointer]), pointer }
    }
}

impl VersionFrom {
    /// In the header of this name. Reading and writing it needs the headers among the plugin's columns.
    ///
    /// # Errors
    ///
    /// It cannot be a header's name.
    pub fn header(name: impl Into<String>) -> Result<Self> {
        Ok(Self(Place::Header(HeaderName::try_from(name.into())?)))
    }

    /// At this JSON pointer in the payload.
    ///
    /// # Errors
    ///
    /// It is not a JSON pointer.
    pub fn pointer(pointer: &str) -> Result<Self> {
        Ok(Self(Place::Pointer(Pointer::parse(pointer)?.into())))
    }

    /// The version of a message, `None` when it has none.
    ///
    /// # Errors
    ///
    /// The payload is not JSON; what stands at the place is neither a whole number nor a text.
    pub fn read(&self, message: &Message<'_>) -> Result<Option<String>> {
        match &self.0 {
            Place::Header(HeaderName(name)) => {
                let Some(version) = message.header(name) else { return Ok(None) };
                let version = str::from_utf8(version).map_err(|error| {
                    Error::from(error).context(format_args!("the header `{name}`"))
                })?;
                Ok(Some(version.to_owned()))
            }
            Place::Pointer(Pointed { pointer, pointers }) => {
                match pointers.read(message.payload())?.at(pointer) {
                    None | Some(Found::Null) => Ok(None),
                    Some(Found::Text(version)) => Ok(Some(version.into_owned())),
                    Some(Found::Number(version @ Number::Integer(_))) => {
                        Ok(Some(version.to_string()))
                    }
                    Some(other) => Err(Error::msg(format_args!(
                        "the version at `{pointer}` is {}, neither a whole number nor a text",
                        other.kind()
                    ))),
                }
            }
        }
    }

    /// The message with this payload and this version.
    ///
    /// # Errors
    ///
    /// The payload has no room for a version at the pointer, because it is no object.
    pub fn write(&self, mut payload: Value, version: &Version) -> Result<Outgoing> {
        match &self.0 {
            Place::Header(HeaderName(name)) => {
                Outgoing::new().without_header(name).header(name, version.as_str()).json(&payload)
            }
            Place::Pointer(Pointed { pointer, .. }) => {
                pointer.set(&mut payload, version.value.clone())?;
                Outgoing::new().json(&payload)
            }
        }
    }
}

impl fmt::Display for VersionFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Header(HeaderName(name)) => write!(f, "in the header `{name}`"),
            Place::Pointer(Pointed { pointer, .. }) => write!(f, "at `{pointer}`"),
        }
    }
}
