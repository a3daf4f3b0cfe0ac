//! Verdict folding: a plugin's answer to a batch becomes the next batch.
//!
//! The answer comes from a sandbox and is not trusted: whatever contradicts the contract is a
//! [`ContractError`], never a panic, and never half applied.

use std::collections::HashSet;

use waypost_protocol::{
    Batch, BatchBuilder, BatchError, ErrorCode, HeaderError, Headers, Limits, MessageView,
    TopicError, check_topic,
};

/// What a plugin says of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on unchanged.
    Forward,
    /// It ends here, on purpose.
    Drop,
    /// This many emitted messages replace it.
    Emit(u32),
    /// Try again after this many milliseconds.
    Retry(u64),
    /// It is a dead letter, with this reason.
    Reject(String),
}

/// What an emitted message takes in place of its source's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The source's value.
    Inherit,
    /// The value in the column's region.
    Set,
    /// No value; an empty payload.
    Clear,
}

/// One column of emitted messages: a change for each, one end offset more, and the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeColumn {
    /// One for each emitted message.
    pub changes: Vec<Change>,
    /// End offsets in bytes, the first of them zero.
    pub ends: Vec<u32>,
    /// The region.
    pub bytes: Vec<u8>,
}

/// Messages that replace others. A column that is `None` is inherited by all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Emitted {
    /// For each emitted message the index of its source.
    pub sources: Vec<u32>,
    /// Topics.
    pub topics: Option<ChangeColumn>,
    /// Keys.
    pub keys: Option<ChangeColumn>,
    /// Encoded headers.
    pub headers: Option<ChangeColumn>,
    /// Payloads.
    pub payloads: Option<ChangeColumn>,
}

/// A message that replaces another one.
#[derive(Debug, Clone, Copy)]
pub struct EmittedMessage<'a> {
    /// The topic that the plugin gave it, which may be none; its source's when the plugin gave it none.
    pub new_topic: Option<&'a [u8]>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
    /// Its payload.
    pub payload: &'a [u8],
}

/// A plugin's answer to one batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StageOutput {
    /// One for each message.
    pub verdicts: Vec<Verdict>,
    /// What replaces those with [`Verdict::Emit`].
    pub emitted: Option<Emitted>,
}

/// How much a plugin may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Messages that may replace one.
    pub max_emitted_per_message: u32,
}

/// An answer that contradicts the contract, or is over a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Another number of verdicts than messages.
    #[error("the plugin gave {found} verdicts for {expected} messages")]
    VerdictCount {
        /// Messages.
        expected: usize,
        /// Verdicts.
        found: usize,
    },
    /// A message is replaced by none or by too many.
    #[error("the verdict of message {index} emits {count} messages, 1 to {limit} are allowed")]
    EmitCount {
        /// Which message.
        index: usize,
        /// What its verdict says.
        count: u32,
        /// What is allowed.
        limit: u32,
    },
    /// The sources of the emitted messages do not follow from the verdicts.
    #[error("emitted message {position} does not name the source that the verdicts say")]
    Source {
        /// Which emitted message.
        position: usize,
    },
    /// A column's changes, offsets or bytes do not fit together.
    #[error("the emitted {column} do not divide their bytes into one value for each message")]
    Column {
        /// Which column.
        column: &'static str,
    },
    /// Emitted headers break the encoding.
    #[error("the headers of emitted message {position} are malformed: {source}")]
    Headers {
        /// Which emitted message.
        position: usize,
        /// What is wrong.
        source: HeaderError,
    },
    /// An emitted topic was cleared.
    #[error("the topic of emitted message {position} is cleared; a message has a topic")]
    NoTopic {
        /// Which emitted message.
        position: usize,
    },
    /// An emitted message is larger than a message may be.
    #[error("the plugin emitted a message that is too large: {0}")]
    TooLarge(BatchError),
}

impl ContractError {
    /// The reason of the dead letters that it makes.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::EmitCount { count: 1.., .. } | Self::TooLarge(_) => ErrorCode::PluginOutput,
            _ => ErrorCode::PluginContract,
        }
    }
}

/// A message that does not go on, with its index in the stage's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its index.
    pub index: u32,
    /// The reason as a code.
    pub code: ErrorCode,
    /// The reason in words.
    pub error: String,
}

/// What a stage made of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folded {
    /// What goes on, in order; the input's own buffer when all was forwarded, and more than one batch
    /// when the messages that a plugin emitted do not fit one.
    pub batches: Vec<Batch>,
    /// For each message of these batches, in order, the index of the one that it came of.
    pub sources: Vec<u32>,
    /// Messages that were dropped on purpose.
    pub dropped: usize,
    /// Messages that become dead letters: rejected ones, and those whose emitted topic is none.
    pub failed: Vec<Failed>,
    /// Messages that are to be tried again.
    pub retried: Vec<Retried>,
    /// Messages behind one of [`retried`](Self::retried) with the same key. What the plugin said of them does
    /// not count, so that they keep their order: they are to be called when that one has gone on.
    pub following: Vec<u32>,
}

/// A message that is to be tried again, with its index in the stage's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retried {
    /// Its index.
    pub index: u32,
    /// The least wait that the plugin asked for, in milliseconds.
    pub after_ms: u64,
}

/// Makes the next batch from a stage's answer.
///
/// # Errors
///
/// An answer that contradicts the contract or is over a limit.
pub fn fold(
    input: &Batch,
    output: &StageOutput,
    allowed: OutputLimits,
    limits: Limits,
) -> Result<Folded, ContractError> {
    if output.verdicts.len() != input.len() {
        let (expected, found) = (input.len(), output.verdicts.len());
        return Err(ContractError::VerdictCount { expected, found });
    }
    let emits = check_sources(output, allowed)?;
    let mut folded = Folded::default();
    let mut forwarded = Vec::with_capacity(if emits { 0 } else { input.len() });
    let mut rebuild = Rebuild::new(input, output.emitted.as_ref(), limits)?;
    let mut parked = HashSet::new();
    for (index, verdict) in (0_u32..).zip(&output.verdicts) {
        let key = || input.get(index as usize).and_then(|message| message.key());
        if !parked.is_empty() && key().is_some_and(|key| parked.contains(key)) {
            if let Verdict::Emit(count) = verdict {
                rebuild.skip(*count);
            }
            folded.following.push(index);
            continue;
        }
        match verdict {
            Verdict::Forward if emits => rebuild.forward(index)?,
            Verdict::Forward => forwarded.push(index),
            Verdict::Drop => folded.dropped += 1,
            Verdict::Emit(count) => folded.failed.extend(rebuild.emit(index, *count)?),
            Verdict::Retry(after_ms) => {
                parked.extend(key());
                folded.retried.push(Retried { index, after_ms: *after_ms });
            }
            Verdict::Reject(reason) => folded.failed.push(Failed {
                index,
                code: ErrorCode::PluginRejected,
                error: reason.clone(),
            }),
        }
    }
    (folded.batches, folded.sources) = match emits {
        true => rebuild.finish(),
        false => (input.gather(&forwarded).into_iter().collect(), forwarded),
    };
    Ok(folded)
}

/// Whether there are emitted messages; their sources are then those that the verdicts say.
fn check_sources(output: &StageOutput, allowed: OutputLimits) -> Result<bool, ContractError> {
    let sources = output.emitted.as_ref().map_or(&[][..], |emitted| &emitted.sources);
    let mut position = 0;
    for (index, verdict) in output.verdicts.iter().enumerate() {
        let Verdict::Emit(count) = verdict else {
            continue;
        };
        let limit = allowed.max_emitted_per_message;
        if !(1..=limit).contains(count) {
            return Err(ContractError::EmitCount { index, count: *count, limit });
        }
        for _ in 0..*count {
            if sources.get(position).map(|source| *source as usize) != Some(index) {
                return Err(ContractError::Source { position });
            }
            position += 1;
        }
    }
    if position != sources.len() {
        return Err(ContractError::Source { position });
    }
    Ok(position > 0)
}

/// Builds the next batch message by message, for an answer that emits.
struct Rebuild<'a> {
    input: &'a Batch,
    emitted: Option<&'a Emitted>,
    builder: BatchBuilder,
    full: Vec<Batch>,
    /// The source of each message so far.
    sources: Vec<u32>,
    position: usize,
}

impl<'a> Rebuild<'a> {
    fn new(
        input: &'a Batch,
        emitted: Option<&'a Emitted>,
        limits: Limits,
    ) -> Result<Self, ContractError> {
        if let Some(emitted) = emitted {
            let count = emitted.sources.len();
            for (column, values) in [
                ("topics", &emitted.topics),
                ("keys", &emitted.keys),
                ("headers", &emitted.headers),
                ("payloads", &emitted.payloads),
            ] {
                if values.as_ref().is_some_and(|values| !values.is_sound(count)) {
                    return Err(ContractError::Column { column });
                }
            }
        }
        let builder = BatchBuilder::with_limits(limits);
        let (full, sources) = (Vec::new(), Vec::new());
        Ok(Self { input, emitted, builder, full, sources, position: 0 })
    }

    fn source(&self, index: u32) -> Result<MessageView<'a>, ContractError> {
        // The verdicts were counted against the input, so the index is inside.
        self.input.get(index as usize).ok_or(ContractError::Source { position: self.position })
    }

    fn forward(&mut self, index: u32) -> Result<(), ContractError> {
        let source = self.source(index)?;
        self.append(index, |builder| builder.push_view(source))
    }

    /// Appends a message to the batch at hand, or to a new one when that is full: what one message makes
    /// of itself must not be its neighbours' ruin.
    fn append(
        &mut self,
        source: u32,
        push: impl Fn(&mut BatchBuilder) -> Result<(), BatchError>,
    ) -> Result<(), ContractError> {
        if push(&mut self.builder).is_err() {
            self.full.extend(self.builder.finish());
            push(&mut self.builder).map_err(ContractError::TooLarge)?;
        }
        self.sources.push(source);
        Ok(())
    }

    fn finish(mut self) -> (Vec<Batch>, Vec<u32>) {
        self.full.extend(self.builder.finish());
        (self.full, self.sources)
    }

    /// Passes over what would replace a message.
    fn skip(&mut self, count: u32) {
        self.position += count as usize;
    }

    /// Appends what replaces a message. A topic that is none fails that message alone.
    fn emit(&mut self, index: u32, count: u32) -> Result<Vec<Failed>, ContractError> {
        let source = self.source(index)?;
        let mut failed = Vec::new();
        for _ in 0..count {
            let position = self.position;
            self.position += 1;
            if let Err(error) = self.emit_one(index, source, position)? {
                failed.push(Failed { index, code: ErrorCode::BadDestination, error });
            }
        }
        // One dead letter holds the message, however many of its successors have no destination.
        failed.truncate(1);
        Ok(failed)
    }

    fn emit_one(
        &mut self,
        index: u32,
        source: MessageView<'a>,
        position: usize,
    ) -> Result<Result<(), String>, ContractError> {
        let Some(emitted) = self.emitted else {
            return Err(ContractError::Source { position });
        };
        let EmittedMessage { new_topic, key, headers, payload } =
            emitted.message(source, position)?;
        let topic = match new_topic.map(emitted_topic) {
            None => source.topic(),
            Some(Ok(topic)) => topic,
            Some(Err(error)) => return Ok(Err(error)),
        };
        let (headers, created_ms) = (headers.as_bytes(), source.created_ms());
        self.append(index, |builder| builder.push(topic, key, headers, payload, created_ms)).map(Ok)
    }
}

fn emitted_topic(value: &[u8]) -> Result<&str, String> {
    let topic = check_topic(value).map_err(|error: TopicError| {
        format!("the plugin gave the topic {:?}: {error}", String::from_utf8_lossy(value))
    })?;
    if topic.starts_with('$') {
        return Err(format!("the plugin gave the topic {topic}, which belongs to the router"));
    }
    Ok(topic)
}

impl Emitted {
    /// The message at a position, with what it inherits from its source. Of an answer that was folded each
    /// one is there.
    ///
    /// # Errors
    ///
    /// Its topic is cleared, or its headers are malformed.
    pub fn message<'a>(
        &'a self,
        source: MessageView<'a>,
        position: usize,
    ) -> Result<EmittedMessage<'a>, ContractError> {
        let new_topic = match ChangeColumn::at(self.topics.as_ref(), position) {
            (Change::Inherit, _) => None,
            (Change::Clear, _) => return Err(ContractError::NoTopic { position }),
            (Change::Set, topic) => Some(topic),
        };
        let key = match ChangeColumn::at(self.keys.as_ref(), position) {
            (Change::Inherit, _) => source.key(),
            (Change::Clear, _) => None,
            (Change::Set, key) => Some(key),
        };
        let headers = match ChangeColumn::at(self.headers.as_ref(), position) {
            (Change::Inherit, _) => source.headers(),
            (Change::Clear, _) => Headers::default(),
            (Change::Set, headers) => {
                let checked = Headers::check(headers);
                checked.map_err(|source| ContractError::Headers { position, source })?.0
            }
        };
        let payload = match ChangeColumn::at(self.payloads.as_ref(), position) {
            (Change::Inherit, _) => source.payload(),
            (Change::Clear, _) => &[],
            (Change::Set, payload) => payload,
        };
        Ok(EmittedMessage { new_topic, key, headers, payload })
    }
}

impl ChangeColumn {
    fn is_sound(&self, count: usize) -> bool {
        self.changes.len() == count
            && self.ends.len() == count + 1
            && self.ends.first() == Some(&0)
            && self.ends.is_sorted()
            && self.ends.last().is_some_and(|end| *end as usize == self.bytes.len())
    }

    /// The change at a position, and its value; everything is inherited where there is no column.
    #[must_use]
    pub fn at(column: Option<&Self>, position: usize) -> (Change, &[u8]) {
        let Some(column) = column else {
            return (Change::Inherit, &[]);
        };
        let change = column.changes.get(position).copied().unwrap_or(Change::Inherit);
        let value = match column.ends.get(position..position + 2) {
            Some([start, end]) => column.bytes.get(*start as usize..*end as usize),
            _ => None,
        };
        (change, value.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
