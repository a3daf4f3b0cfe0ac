//! Tests of a plugin without Wasm: the messages go through the same columns, with the projection that
//! the manifest asks for, and the answers come back as [`Outcome`]s.
//!
//! It does not exist on Wasm.

use std::{fmt, time::Duration};

use serde::Serialize;
use waypost_protocol::{Headers, HeadersBuilder};

use crate::{
    Error, Plugin, Result,
    bindings::waypost::plugin::types::{
        Batch, Change, ChangeColumn, Column, Emitted, KeyColumn, Output, Verdict,
    },
    imports::native::{self, World},
    log::Level,
    runtime,
};

/// A message, as it goes in or comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestMessage {
    /// The topic.
    pub topic: String,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The payload.
    pub payload: Vec<u8>,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
}

impl TestMessage {
    /// A message on this topic, without key and headers, made at the epoch.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            key: None,
            headers: Vec::new(),
            payload: payload.into(),
            created_ms: 0,
        }
    }

    /// The same with this value, written as JSON, for a payload.
    ///
    /// # Panics
    ///
    /// The value cannot be JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(topic: impl Into<String>, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(payload) => Self::new(topic, payload),
            Err(error) => panic!("this value cannot be JSON: {error}"),
        }
    }

    /// The same with a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The payload as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn payload_text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on unchanged.
    Forwarded,
    /// It ends.
    Dropped,
    /// These replace it.
    Emitted(Vec<TestMessage>),
    /// It comes again.
    Retried(Duration),
    /// It becomes a dead letter with this reason.
    Rejected(String),
}

/// A configured plugin to hand messages to, with the clock, the chance, the log and the counters that it
/// has there.
///
/// ```
/// use waypost_sdk::{prelude::*, testing::{Harness, Outcome, TestMessage}};
///
/// static LATE: Counter = Counter::new("late");
///
/// #[filter(reads(created), imports(clock, metrics))]
/// fn fresh(message: &Message) -> Result<bool> {
///     let age = clock::now_ms().saturating_sub(message.created_ms());
///     if age > 1000 {
///         LATE.increment();
///         log!(info, "{age} ms late");
///     }
///     Ok(age <= 1000)
/// }
///
/// let mut plugin = Harness::<Fresh>::new(json!({}))?;
/// plugin.set_now_ms(3000);
/// assert_eq!(plugin.run_one(TestMessage::new("t", "")), Outcome::Dropped);
/// assert_eq!(plugin.counter("late"), 1);
/// assert_eq!(plugin.logged(), [(log::Level::Info, "3000 ms late".to_owned())]);
/// # Ok::<(), Error>(())
/// ```
pub struct Harness<P> {
    plugin: P,
    world: World,
}

// By hand, so that `unwrap_err` asks nothing of the plugin's type.
impl<P> fmt::Debug for Harness<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").finish_non_exhaustive()
    }
}

impl<P: Plugin> Harness<P> {
    /// Configures the plugin; `json!({})` when it has no configuration.
    ///
    /// # Errors
    ///
    /// The plugin refuses the configuration.
    pub fn new(configuration: impl Serialize) -> Result<Self> {
        let configuration = serde_json::to_string(&configuration)?;
        let mut world = World { imports: P::manifest().imports, ..World::default() };
        let plugin = native::within(&mut world, || runtime::configure(&configuration));
        Ok(Self { plugin: plugin.map_err(Error::msg)?, world })
    }

    /// Stops the plugin's clock at this time, in milliseconds since the Unix epoch.
    pub fn set_now_ms(&mut self, now_ms: u64) {
        self.world.now_ms = Some(now_ms);
    }

    /// What [`random`](crate::random) gives next, in this order; behind these it is random again.
    pub fn set_random(&mut self, values: impl IntoIterator<Item = u64>) {
        self.world.random = values.into_iter().collect();
    }

    /// How far the plugin has counted; zero when it never did.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.world.counters.get(name).copied().unwrap_or_default()
    }

    /// The lines that the plugin has logged, the first of them first.
    #[must_use]
    pub fn logged(&self) -> &[(Level, String)] {
        &self.world.lines
    }

    /// Hands over the messages as one batch.
    ///
    /// # Panics
    ///
    /// The plugin panics, reads a column or calls an interface that its manifest does not name, or a
    /// message has a header that cannot be one.
    pub fn run(&mut self, messages: impl IntoIterator<Item = TestMessage>) -> Vec<Outcome> {
        let messages: Vec<_> = messages.into_iter().collect();
        if messages.is_empty() {
            return Vec::new();
        }
        let batch = project::<P>(&messages);
        let output = native::within(&mut self.world, || runtime::process(&mut self.plugin, &batch));
        outcomes(&messages, output)
    }

    /// Hands over one message.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn run_one(&mut self, message: TestMessage) -> Outcome {
        self.run([message]).remove(0)
    }
}

/// The columns that the plugin reads.
fn project<P: Plugin>(messages: &[TestMessage]) -> Batch {
    let reads = P::manifest().reads;
    let keys = || {
        let mut present = vec![0; messages.len().div_ceil(8)];
        for (index, _) in messages.iter().enumerate().filter(|(_, message)| message.key.is_some()) {
            present[index / 8] |= 1 << (index % 8);
        }
        let Column { ends, bytes } =
            column(messages.iter().map(|message| message.key.clone().unwrap_or_default()));
        KeyColumn { present, ends, bytes }
    };
    Batch {
        count: offset(messages.len()),
        topics: reads.topics.then(|| column(messages.iter().map(|message| &message.topic))),
        keys: reads.keys.then(keys),
        headers: reads.headers.then(|| column(messages.iter().map(encode_headers))),
        payloads: reads.payloads.then(|| column(messages.iter().map(|message| &message.payload))),
        created: reads.created.then(|| messages.iter().map(|message| message.created_ms).collect()),
    }
}

fn column(values: impl Iterator<Item = impl AsRef<[u8]>>) -> Column {
    let (mut ends, mut bytes) = (vec![0], Vec::new());
    for value in values {
        bytes.extend_from_slice(value.as_ref());
        ends.push(offset(bytes.len()));
    }
    Column { ends, bytes }
}

fn offset(length: usize) -> u32 {
    match u32::try_from(length) {
        Ok(offset) => offset,
        Err(_) => panic!("a test batch exceeds 4 GiB"),
    }
}

fn encode_headers(message: &TestMessage) -> Vec<u8> {
    let mut headers = HeadersBuilder::new();
    for (name, value) in &message.headers {
        if let Err(error) = headers.push(name, value) {
            panic!("`{name}` cannot be a header: {error}");
        }
    }
    headers.as_bytes().to_vec()
}

fn outcomes(messages: &[TestMessage], output: Output) -> Vec<Outcome> {
    let mut next = 0;
    let mut take = |source: &TestMessage, count: u32| {
        let emitted = output.emitted.as_ref();
        let range = next..next + count as usize;
        next = range.end;
        range.filter_map(|index| Some(replaced(source, emitted?, index))).collect()
    };
    messages
        .iter()
        .zip(output.verdicts)
        .map(|(source, verdict)| match verdict {
            Verdict::Forward => Outcome::Forwarded,
            Verdict::Drop => Outcome::Dropped,
            Verdict::Emit(count) => Outcome::Emitted(take(source, count)),
            Verdict::Retry(after) => Outcome::Retried(Duration::from_millis(after)),
            Verdict::Reject(reason) => Outcome::Rejected(reason),
        })
        .collect()
}

/// The emitted message at `index`, with what it inherits.
fn replaced(source: &TestMessage, emitted: &Emitted, index: usize) -> TestMessage {
    let mut message = source.clone();
    if let Some(topic) = change(emitted.topics.as_ref(), index) {
        message.topic = String::from_utf8_lossy(topic.unwrap_or_default()).into_owned();
    }
    if let Some(key) = change(emitted.keys.as_ref(), index) {
        message.key = key.map(<[u8]>::to_vec);
    }
    if let Some(payload) = change(emitted.payloads.as_ref(), index) {
        message.payload = payload.unwrap_or_default().to_vec();
    }
    if let Some(headers) = change(emitted.headers.as_ref(), index) {
        let (headers, _) = Headers::check(headers.unwrap_or_default())
            .unwrap_or_else(|error| panic!("emitted headers cannot be headers: {error}"));
        message.headers =
            headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    }
    message
}

/// `None` to inherit, `Some(None)` to clear.
fn change(column: Option<&ChangeColumn>, index: usize) -> Option<Option<&[u8]>> {
    let column = column?;
    match column.changes[index] {
        Change::Inherit => None,
        Change::Clear => Some(None),
        Change::Set => {
            let (start, end) = (column.ends[index] as usize, column.ends[index + 1] as usize);
            Some(Some(&column.bytes[start..end]))
        }
    }
}
