//! A message as the plugin sees it: a view into the columns of its batch, which nothing copies.

use serde::Deserialize;
use waypost_protocol::Headers;

use crate::{
    Error, Result,
    bindings::waypost::plugin::types::{Batch, Column},
};

/// A message in the batch that is being processed; a view, free to copy.
///
/// Only the columns that the plugin's manifest [reads](crate::Reads) are there: reading another one
/// panics with a text that says what to add. The test [harness](crate::testing::Harness) does the same.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    batch: &'a Batch,
    index: usize,
}

impl<'a> Message<'a> {
    pub(crate) fn new(batch: &'a Batch, index: usize) -> Self {
        Self { batch, index }
    }

    /// The topic that it is on.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        // Topics are ASCII, which the router has checked.
        str::from_utf8(self.value(self.batch.topics.as_ref(), "topics")).unwrap_or_default()
    }

    /// The key, when it has one.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        let Some(keys) = &self.batch.keys else { not_read("keys") };
        let present = keys.present[self.index / 8] & (1 << (self.index % 8)) != 0;
        present.then(|| slice(&keys.ends, &keys.bytes, self.index))
    }

    /// The headers, in order.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        let bytes = self.value(self.batch.headers.as_ref(), "headers");
        match Headers::check(bytes) {
            Ok((headers, _)) => headers,
            Err(error) => panic!("the router handed over headers that it had not checked: {error}"),
        }
    }

    /// The value of the first header with this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().get(name)
    }

    /// The payload.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.value(self.batch.payloads.as_ref(), "payloads")
    }

    /// The payload as text.
    ///
    /// # Errors
    ///
    /// It is not UTF-8.
    pub fn payload_str(&self) -> Result<&'a str> {
        str::from_utf8(self.payload())
            .map_err(|error| Error::from(error).context("the payload is not text"))
    }

    /// The payload read as JSON.
    ///
    /// # Errors
    ///
    /// It is not JSON, or not of this shape.
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T> {
        serde_json::from_slice(self.payload())
            .map_err(|error| Error::from(error).context("the payload is not the JSON expected"))
    }

    /// When its publisher made it, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        let Some(created) = &self.batch.created else { not_read("created") };
        created[self.index]
    }

    #[inline]
    fn value(&self, column: Option<&'a Column>, name: &str) -> &'a [u8] {
        let Some(column) = column else { not_read(name) };
        slice(&column.ends, &column.bytes, self.index)
    }
}

#[inline]
fn slice<'a>(ends: &[u32], bytes: &'a [u8], index: usize) -> &'a [u8] {
    &bytes[ends[index] as usize..ends[index + 1] as usize]
}

#[cold]
fn not_read(column: &str) -> ! {
    panic!(
        "this plugin's manifest does not read `{column}`: add `{column}` to its `reads`, for instance \
         #[filter(reads({column}))]"
    )
}
