//! What stands at a place of a document, as far as conditions and templates look at it.

use std::{borrow::Cow, cmp::Ordering, fmt};

use serde_json::Value;

use super::Pointer;

/// Something that pointers look into.
pub trait Document {
    /// What stands there; `None` when there is nothing, which null is not.
    fn at(&self, pointer: &Pointer) -> Option<Found<'_>>;
}

impl Document for Value {
    fn at(&self, pointer: &Pointer) -> Option<Found<'_>> {
        pointer.get(self).map(Found::from)
    }
}

/// What stands at a place.
#[derive(Debug, Clone)]
pub enum Found<'a> {
    /// Null, which is a value.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Cow<'a, str>),
    /// An object or an array, into which nobody looks.
    Nested,
}

/// A number: exact when it is a whole one of 64 bits, otherwise at least the nearest double.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// Written without fraction and exponent.
    Integer(i128),
    /// Any other.
    Float(f64),
}

impl<'a> Found<'a> {
    /// Reads a value's text, which was found to be JSON before.
    pub(super) fn read(json: &'a str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => Self::Text(read_text(json)),
            Some(b'{' | b'[') => Self::Nested,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') | None => Self::Null,
            Some(_) => Self::Number(Number::read(json)),
        }
    }

    /// Whether both are the same null, boolean, number or text; `1` is the same number as `1.0`.
    #[must_use]
    pub fn equals(&self, other: &Found<'_>) -> bool {
        match (self, other) {
            (Self::Null, Found::Null) => true,
            (Self::Bool(this), Found::Bool(other)) => this == other,
            (Self::Number(_), _) | (Self::Text(_), _) => self.order(other) == Some(Ordering::Equal),
            _ => false,
        }
    }

    /// The order of two numbers by value, or of two texts by their UTF-8 bytes; others have none.
    #[must_use]
    pub fn order(&self, other: &Found<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(this), Found::Number(other)) => this.order(*other),
            (Self::Text(this), Found::Text(other)) => Some(this.as_bytes().cmp(other.as_bytes())),
            _ => None,
        }
    }

    /// The value as text: a string's characters, a number, `true` or `false`. Null, objects and arrays
    /// have none.
    #[must_use]
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(number) => Some(number.to_string().into()),
            Self::Bool(boolean) => Some(if boolean { "true" } else { "false" }.into()),
            Self::Null | Self::Nested => None,
        }
    }

    /// The kind of value, with its article, for an error's text.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Nested => "an object or an array",
        }
    }

    /// The same, independent of the document.
    pub(super) fn into_owned(self) -> Found<'static> {
        match self {
            Self::Null => Found::Null,
            Self::Bool(boolean) => Found::Bool(boolean),
            Self::Number(number) => Found::Number(number),
            Self::Text(text) => Found::Text(text.into_owned().into()),
            Self::Nested => Found::Nested,
        }
    }
}

impl<'a> From<&'a Value> for Found<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(boolean) => Self::Bool(*boolean),
            Value::Number(number) => Self::Number(Number::from(number)),
            Value::String(text) => Self::Text(text.into()),
            Value::Array(_) | Value::Object(_) => Self::Nested,
        }
    }
}

impl Number {
    fn read(json: &str) -> Self {
        match json.parse() {
            Ok(integer) => Self::Integer(integer),
            // Every JSON number is one to `f64`; one that is too large becomes infinite.
            Err(_) => Self::Float(json.parse().unwrap_or(f64::NAN)),
        }
    }

    /// The nearest double.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }

    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(this), Self::Integer(other)) => Some(this.cmp(&other)),
            (this, other) => this.as_f64().partial_cmp(&other.as_f64()),
        }
    }
}

impl From<&serde_json::Number> for Number {
    fn from(number: &serde_json::Number) -> Self {
        match (number.as_i128(), number.as_f64()) {
            (Some(integer), _) => Self::Integer(integer),
            (None, float) => Self::Float(float.unwrap_or(f64::NAN)),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            // With `.0` behind a whole one, as JSON is written, and an exponent where it is shorter.
            Self::Float(float) => write!(f, "{float:?}"),
        }
    }
}

/// A string's characters, borrowed unless some are escaped.
fn read_text(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => text.into(),
        _ => serde_json::from_str::<String>(json).unwrap_or_default().into(),
    }
}
