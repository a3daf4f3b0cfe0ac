//! Versions, and where a message carries its own.

use waypost_sdk::{
    json::{Document as _, Found, Number, Pointer, Pointers},
    prelude::*,
};

/// A version: a whole number or a text. As a header's value both are text, so `2` and `"2"` are the same
/// version; where one is written it looks as it does in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct Version {
    text: String,
    value: Value,
}

impl Version {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn is(&self, text: &str) -> bool {
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

/// Where a message carries its version.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VersionFrom {
    /// In a header.
    Header(HeaderName),
    /// In the payload.
    Pointer(Place),
}

/// A header's name that can be one.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct HeaderName(String);

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
pub(crate) struct Place {
    pointer: Pointer,
    pointers: Pointers,
}

impl From<Pointer> for Place {
    fn from(pointer: Pointer) -> Self {
        Self { pointers: Pointers::new([&pointer]), pointer }
    }
}

impl VersionFrom {
    /// The version of a message, `None` when it has none.
    pub(crate) fn read(&self, message: &Message<'_>) -> Result<Option<String>> {
        match self {
            Self::Header(HeaderName(name)) => {
                let Some(version) = message.header(name) else { return Ok(None) };
                let version = str::from_utf8(version).map_err(|error| {
                    Error::from(error).context(format_args!("the header `{name}`"))
                })?;
                Ok(Some(version.to_owned()))
            }
            Self::Pointer(Place { pointer, pointers }) => {
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
    pub(crate) fn write(&self, mut payload: Value, version: &Version) -> Result<Outgoing> {
        match self {
            Self::Header(HeaderName(name)) => {
                Outgoing::new().without_header(name).header(name, version.as_str()).json(&payload)
            }
            Self::Pointer(Place { pointer, .. }) => {
                pointer.set(&mut payload, version.value.clone())?;
                Outgoing::new().json(&payload)
            }
        }
    }

    /// The place in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Header(HeaderName(name)) => format!("in the header `{name}`"),
            Self::Pointer(Place { pointer, .. }) => format!("at `{pointer}`"),
        }
    }
}
