//! A message to emit, as the differences from its source.

use serde::Serialize;
use waypost_protocol::{HeaderError, HeadersBuilder};

use crate::Result;

/// A message that replaces the one being processed. What is not set here it takes from that one.
///
/// ```
/// # use waypost_sdk::prelude::*;
/// # fn example() -> Result<Outgoing> {
/// Ok(Outgoing::new()
///     .topic("orders.checked")
///     .header("checked-by", "vat")
///     .json(&json!({ "total": 12 }))?)
/// # }
/// # example().unwrap();
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it is sent when a #[transform] returns it, or by Emitter::emit"]
pub struct Outgoing {
    pub(crate) topic: Option<String>,
    pub(crate) key: Replaced,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: HeaderEdits,
}

#[derive(Debug, Clone, Default)]
pub(crate) enum Replaced {
    #[default]
    Inherit,
    Clear,
    Set(Vec<u8>),
}

/// The source's headers without some, then others.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeaderEdits {
    pub(crate) clear: bool,
    pub(crate) without: Vec<String>,
    pub(crate) added: HeadersBuilder,
    pub(crate) invalid: Option<HeaderError>,
}

impl Outgoing {
    /// The same message again, until something is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts it on another topic. One that is not a topic, or begins with `$`, makes a dead letter.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Gives it another key. Messages with equal keys keep their order.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Replaced::Set(key.into());
        self
    }

    /// Takes its key away.
    pub fn no_key(mut self) -> Self {
        self.key = Replaced::Clear;
        self
    }

    /// Gives it another payload.
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Gives it this value, written as JSON, for a payload.
    ///
    /// # Errors
    ///
    /// The value cannot be JSON, such as a map whose keys are not text.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        Ok(self.payload(serde_json::to_vec(value)?))
    }

    /// Adds a header behind those it has. The name is visible ASCII, at most 255 bytes; the value has
    /// at most 65,535 bytes; others are told when the message is emitted.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if let Err(error) = self.headers.added.push(name, value.as_ref()) {
            self.headers.invalid.get_or_insert(error);
        }
        self
    }

    /// Takes away the source's headers with this name.
    pub fn without_header(mut self, name: impl Into<String>) -> Self {
        self.headers.without.push(name.into());
        self
    }

    /// Takes away all the source's headers.
    pub fn clear_headers(mut self) -> Self {
        self.headers.clear = true;
        self
    }
}
