//! What a publisher is handed.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use waypost_protocol::{Headers, HeadersBuilder, TTL, TimeToLive};

use crate::PublishError;

/// A message to publish. It borrows or owns its parts; publishing copies them into a batch.
///
/// ```
/// use waypost_client::{Message, PublishError};
///
/// # fn main() -> Result<(), PublishError> {
/// let message = Message::new("quakes.raw", b"{\"magnitude\": 4.4}")
///     .key(b"us7000abcd")
///     .header("content-type", "application/json")?;
/// # drop(message);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Message<'a> {
    pub(super) topic: Cow<'a, str>,
    pub(super) key: Option<Cow<'a, [u8]>>,
    pub(crate) headers: HeadersBuilder,
    pub(super) payload: Cow<'a, [u8]>,
    created_ms: Option<u64>,
}

impl<'a> Message<'a> {
    /// A message without key and headers. The topic's grammar is checked when it is published.
    #[must_use]
    pub fn new(topic: impl Into<Cow<'a, str>>, payload: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            topic: topic.into(),
            key: None,
            headers: HeadersBuilder::new(),
            payload: payload.into(),
            created_ms: None,
        }
    }

    /// What its order is kept by.
    #[must_use]
    pub fn key(mut self, key: impl Into<Cow<'a, [u8]>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Appends a header.
    ///
    /// # Errors
    ///
    /// A name that is empty, longer than 255 bytes or not visible ASCII; a value over 65,535 bytes.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, PublishError> {
        self.headers.push(name, value.as_ref())?;
        Ok(self)
    }

    /// Appends headers that were validated before, such as those of a delivered message.
    #[must_use]
    pub fn headers(mut self, headers: Headers<'_>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// How long it lives, from when the router takes it in. Afterwards nobody is handed it any more.
    ///
    /// # Errors
    ///
    /// Less than a millisecond, or more than a hundred years.
    pub fn ttl(self, ttl: Duration) -> Result<Self, PublishError> {
        self.header(TTL, TimeToLive::from_duration(ttl)?.to_string())
    }

    /// When it was made, in milliseconds since the Unix epoch; the time of publishing unless set.
    #[must_use]
    pub fn created_ms(mut self, created_ms: u64) -> Self {
        self.created_ms = Some(created_ms);
        self
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Puts headers in the place of all of the same names.
    pub(crate) fn replace_headers(
        mut self,
        headers: &[(&str, &str)],
    ) -> Result<Self, PublishError> {
        let old = std::mem::take(&mut self.headers);
        let (old, _) = Headers::check(old.as_bytes())?;
        for (name, value) in old.iter() {
            if headers.iter().all(|(each, _)| *each != name) {
                self.headers.push(name, value)?;
            }
        }
        for (name, value) in headers {
            self.headers.push(name, value.as_bytes())?;
        }
        Ok(self)
    }

    pub(super) fn byte_len(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        self.topic.len() + key + self.headers.as_bytes().len() + self.payload.len()
    }

    pub(super) fn created_or_now(&self) -> u64 {
        self.created_ms.unwrap_or_else(|| {
            // A clock before 1970 is a clock that was never set.
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_header_stands_once() {
        let message = Message::new("a", b"")
            .header("old", "1")
            .and_then(|message| message.header("kept", "2"))
            .and_then(|message| message.header("old", "3"))
            .expect("good headers");
        let message = message.replace_headers(&[("old", "4"), ("new", "5")]).expect("good headers");
        let (headers, _) = Headers::check(message.headers.as_bytes()).expect("good headers");
        let found: Vec<_> = headers.iter().collect();
        assert_eq!(found, [("kept", &b"2"[..]), ("old", b"4"), ("new", b"5")]);
    }
}
