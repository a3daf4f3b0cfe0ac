//! What a plugin emits while a batch is processed, kept as the columns that the contract returns.
//!
//! Messages stand in the order of their sources. A source whose verdict is not to emit leaves nothing here.

use waypost_protocol::{Headers, HeadersBuilder};

use crate::{
    Error, Message, Outgoing, Result,
    bindings::waypost::plugin::types::{Batch, Change, ChangeColumn, Emitted},
    outgoing::{HeaderEdits, Replaced},
};

/// Takes the messages that replace the one being processed.
#[derive(Debug)]
pub struct Emitter<'a> {
    batch: &'a Batch,
    source: usize,
    /// How many messages were there when the source's turn began.
    start: usize,
    sources: Vec<u32>,
    topics: Changes,
    keys: Changes,
    headers: Changes,
    payloads: Changes,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(batch: &'a Batch) -> Self {
        Self {
            batch,
            source: 0,
            start: 0,
            sources: Vec::new(),
            topics: Changes::default(),
            keys: Changes::default(),
            headers: Changes::default(),
            payloads: Changes::default(),
        }
    }

    /// Emits a message in place of the source, behind those already emitted for it.
    ///
    /// # Errors
    ///
    /// A header was set whose name or value cannot be one.
    pub fn emit(&mut self, message: Outgoing) -> Result<()> {
        if let Some(error) = message.headers.invalid {
            return Err(Error::from(error).context("a header of an emitted message"));
        }
        let Ok(source) = u32::try_from(self.source) else {
            unreachable!("a batch has at most 2^32 messages")
        };
        self.sources.push(source);
        match &message.topic {
            Some(topic) => self.topics.set(topic.as_bytes()),
            None => self.topics.inherit(),
        }
        match &message.key {
            Replaced::Inherit => self.keys.inherit(),
            Replaced::Clear => self.keys.clear(),
            Replaced::Set(key) => self.keys.set(key),
        }
        match &message.payload {
            Some(payload) => self.payloads.set(payload),
            None => self.payloads.inherit(),
        }
        self.edit_headers(&message.headers)
    }

    /// Emits each of these messages in turn.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), for the first of them that cannot be emitted.
    pub fn emit_all(&mut self, messages: impl IntoIterator<Item = Outgoing>) -> Result<()> {
        messages.into_iter().try_for_each(|message| self.emit(message))
    }

    /// How many messages were emitted for the source so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sources.len() - self.start
    }

    /// Whether nothing was emitted for the source so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn edit_headers(&mut self, edits: &HeaderEdits) -> Result<()> {
        let added = edits.added.as_bytes();
        if edits.clear {
            match added {
                [] => self.headers.clear(),
                added => self.headers.set(added),
            }
        } else if edits.without.is_empty() && added.is_empty() {
            self.headers.inherit();
        } else {
            let mut headers = HeadersBuilder::new();
            for (name, value) in Message::new(self.batch, self.source).headers().iter() {
                if !edits.without.iter().any(|without| without == name) {
                    headers.push(name, value)?;
                }
            }
            let (added, _) = Headers::check(added)?;
            headers.extend(added);
            self.headers.set(headers.as_bytes());
        }
        Ok(())
    }

    /// Begins the turn of the next source.
    pub(crate) fn begin(&mut self, source: usize) {
        self.source = source;
        self.start = self.sources.len();
    }

    /// Discards what was emitted for the source.
    pub(crate) fn discard(&mut self) {
        self.sources.truncate(self.start);
        for changes in [&mut self.topics, &mut self.keys, &mut self.headers, &mut self.payloads] {
            changes.truncate(self.start);
        }
    }

    pub(crate) fn finish(self) -> Option<Emitted> {
        (!self.sources.is_empty()).then(|| Emitted {
            sources: self.sources,
            topics: self.topics.finish(),
            keys: self.keys.finish(),
            headers: self.headers.finish(),
            payloads: self.payloads.finish(),
        })
    }
}

/// A column of changes that grows.
#[derive(Debug, Default)]
struct Changes {
    changes: Vec<Change>,
    /// Without the leading zero.
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Changes {
    fn inherit(&mut self) {
        self.push(Change::Inherit, &[]);
    }

    fn clear(&mut self) {
        self.push(Change::Clear, &[]);
    }

    fn set(&mut self, value: &[u8]) {
        self.push(Change::Set, value);
    }

    fn push(&mut self, change: Change, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        let Ok(end) = u32::try_from(self.bytes.len()) else {
            panic!("a batch's emitted values exceed 4 GiB")
        };
        self.changes.push(change);
        self.ends.push(end);
    }

    fn truncate(&mut self, count: usize) {
        self.changes.truncate(count);
        self.ends.truncate(count);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    /// `None` when every message inherits.
    fn finish(mut self) -> Option<ChangeColumn> {
        if self.changes.iter().all(|change| *change == Change::Inherit) {
            return None;
        }
        self.ends.insert(0, 0);
        Some(ChangeColumn { changes: self.changes, ends: self.ends, bytes: self.bytes })
    }
}
