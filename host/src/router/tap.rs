//! Taps: what operators watch of messages as they pass, with each stage's verdict.
//!
//! A tap never holds anything up. It shows so many messages a second, a part of each, and counts those that it
//! did not look at. Without taps a call costs one look at a number.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;
use waypost_core::{
    Change, ChangeColumn, Failed, Folded, RouteName, StageOutput, TapBudget, Verdict,
};
use waypost_protocol::{Batch, MessageView, Pattern};

use super::{outlet::hex, stage::Stage};
use crate::time::now_ms;

/// Taps at one time.
const MAX_TAPS: usize = 8;
/// What waits for whoever watches; beyond it messages are passed over.
const MAX_WAITING: usize = 1024;
/// What is shown of a key or a header's value.
const MAX_SHOWN_BYTES: usize = 256;
/// How many headers and emitted topics are shown.
const MAX_SHOWN: usize = 16;

/// What a tap watches.
#[derive(Debug, Clone)]
pub struct TapFilter {
    /// The topic that a message has where it is seen.
    pub pattern: Pattern,
    /// Only in this route, if one is named.
    pub route: Option<String>,
    /// Messages a second.
    pub per_second: u32,
    /// How much of a payload is shown.
    pub payload_bytes: usize,
}

/// A message as it was seen at one place on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sight {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The topic that it had there.
    pub topic: String,
    /// Its key, or the beginning of one.
    #[serde(flatten)]
    pub key: Option<ShownKey>,
    /// Its first headers.
    pub headers: Vec<ShownHeader>,
    /// Its payload, or the beginning of one.
    #[serde(flatten)]
    pub payload: ShownPayload,
    /// How many bytes the payload has.
    pub payload_bytes: usize,
    /// What became of it there.
    #[serde(flatten)]
    pub event: TapEvent,
}

/// A key, as text or in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShownKey {
    /// Text.
    Key(String),
    /// Other bytes.
    KeyHex(String),
}

/// A payload, as text or in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShownPayload {
    /// Text.
    Payload(String),
    /// Other bytes.
    PayloadHex(String),
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShownHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(flatten)]
    pub value: ShownValue,
}

/// A header's value, as text or in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShownValue {
    /// Text.
    Value(String),
    /// Other bytes.
    ValueHex(String),
}

impl ShownKey {
    /// All of it.
    pub(crate) fn whole(key: &[u8]) -> Self {
        shown(key, key.len(), Self::Key, Self::KeyHex)
    }
}

impl ShownPayload {
    /// All of it.
    pub(crate) fn whole(payload: &[u8]) -> Self {
        shown(payload, payload.len(), Self::Payload, Self::PayloadHex)
    }
}

impl ShownHeader {
    /// All of it.
    pub(crate) fn whole((name, value): (&str, &[u8])) -> Self {
        let value = shown(value, value.len(), ShownValue::Value, ShownValue::ValueHex);
        Self { name: name.to_owned(), value }
    }
}

/// What became of a message at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum TapEvent {
    /// A publisher handed it in.
    Published {
        /// The routes that take it.
        routes: Vec<String>,
        /// How many subscriptions get it.
        subscriptions: usize,
    },
    /// A stage gave its verdict.
    Verdict {
        /// The route.
        route: String,
        /// The stage.
        stage: String,
        /// The version in its plugin's manifest.
        version: String,
        /// What it said.
        verdict: ShownVerdict,
    },
    /// The route gave up on it: it is a dead letter.
    Dead {
        /// The route.
        route: String,
        /// The stage, unless it had all of them behind it.
        stage: Option<String>,
        /// The reason as a code.
        reason: String,
        /// The reason in words.
        error: String,
    },
    /// It left a route.
    Left {
        /// The route.
        route: String,
        /// The routes that take it.
        routes: Vec<String>,
        /// How many subscriptions get it.
        subscriptions: usize,
    },
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShownVerdict {
    /// It goes on unchanged.
    Forward,
    /// It ends here, on purpose.
    Drop,
    /// Others replace it, the first of them on these topics.
    Emit(Vec<String>),
    /// It is tried again after at least so many milliseconds.
    Retry(u64),
    /// It is a dead letter, for this reason.
    Reject(String),
    /// It waits for an earlier message with its key, and is called again then.
    Wait,
}

/// All taps of a router.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// How many there are.
    count: AtomicUsize,
    open: Mutex<Vec<Arc<Opened>>>,
}

#[derive(Debug)]
struct Opened {
    filter: TapFilter,
    budget: Mutex<TapBudget>,
    sights: mpsc::Sender<Sight>,
    passed_over: AtomicU64,
}

/// A tap; dropping it closes it.
#[derive(Debug)]
pub struct Tap {
    taps: Arc<Taps>,
    opened: Arc<Opened>,
    sights: mpsc::Receiver<Sight>,
}

impl Tap {
    /// The next message that is seen.
    pub async fn next(&mut self) -> Option<Sight> {
        self.sights.recv().await
    }

    /// The next message that was seen already, if there is one.
    #[cfg(test)]
    pub(super) fn try_next(&mut self) -> Option<Sight> {
        self.sights.try_recv().ok()
    }

    /// How many messages passed since the last time without being looked at.
    #[must_use]
    pub fn take_passed_over(&self) -> u64 {
        self.opened.passed_over.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut open = self.taps.lock();
        open.retain(|opened| !Arc::ptr_eq(opened, &self.opened));
        self.taps.count.store(open.len(), Ordering::Relaxed);
    }
}

impl Taps {
    /// Opens a tap, unless there are as many as there may be.
    pub(super) fn open(self: &Arc<Self>, filter: TapFilter) -> Option<Tap> {
        let mut open = self.lock();
        if open.len() >= MAX_TAPS {
            return None;
        }
        let (sender, sights) = mpsc::channel(MAX_WAITING);
        let budget = Mutex::new(TapBudget::new(filter.per_second));
        let opened = Opened { filter, budget, sights: sender, passed_over: AtomicU64::default() };
        let opened = Arc::new(opened);
        open.push(opened.clone());
        self.count.store(open.len(), Ordering::Relaxed);
        Some(Tap { taps: self.clone(), opened, sights })
    }

    /// Messages that a publisher handed in. `takers` tells the routes and the number of subscriptions of a topic.
    pub(super) fn published(&self, batch: &Batch, takers: impl Fn(&str) -> (Vec<String>, usize)) {
        self.show(None, batch, 0..batch.len(), |_, message| {
            let (routes, subscriptions) = takers(message.topic());
            TapEvent::Published { routes, subscriptions }
        });
    }

    /// Messages that left a route.
    pub(super) fn left(
        &self,
        route: &RouteName,
        batch: &Batch,
        takers: impl Fn(&str) -> (Vec<String>, usize),
    ) {
        self.show(Some(route), batch, 0..batch.len(), |_, message| {
            let (routes, subscriptions) = takers(message.topic());
            TapEvent::Left { route: route.as_str().to_owned(), routes, subscriptions }
        });
    }

    /// What a stage said of a batch, and what that came to.
    pub(super) fn verdicts(
        &self,
        route: &RouteName,
        stage: &Stage,
        batch: &Batch,
        output: &StageOutput,
        folded: &Folded,
    ) {
        self.show(Some(route), batch, 0..batch.len(), |index, message| TapEvent::Verdict {
            route: route.as_str().to_owned(),
            stage: stage.name.as_str().to_owned(),
            version: stage.version.run().version.clone(),
            verdict: shown_verdict(index, message, output, folded),
        });
    }

    /// A message that a route gave up on.
    pub(super) fn dead(
        &self,
        route: &RouteName,
        stage: Option<&Stage>,
        batch: &Batch,
        failed: &Failed,
    ) {
        let index = failed.index as usize;
        self.show(Some(route), batch, index..index + 1, |_, _| TapEvent::Dead {
            route: route.as_str().to_owned(),
            stage: stage.map(|stage| stage.name.as_str().to_owned()),
            reason: failed.code.name().to_owned(),
            error: failed.error.clone(),
        });
    }

    fn show(
        &self,
        route: Option<&RouteName>,
        batch: &Batch,
        range: Range<usize>,
        event: impl Fn(usize, MessageView<'_>) -> TapEvent,
    ) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        for opened in self.lock().iter() {
            opened.show(route, batch, range.clone(), &event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Opened>>> {
        // No code under the lock panics, so a poisoned list is a whole one.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    fn show(
        &self,
        route: Option<&RouteName>,
        batch: &Batch,
        range: Range<usize>,
        event: impl Fn(usize, MessageView<'_>) -> TapEvent,
    ) {
        if self
            .filter
            .route
            .as_deref()
            .is_some_and(|only| Some(only) != route.map(RouteName::as_str))
        {
            return;
        }
        let matches = |topic: &str| self.filter.pattern.matches(topic);
        if batch.single_topic().is_some_and(|topic| !matches(topic)) {
            return;
        }
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = now_ms();
        let end = range.end;
        for index in range {
            let Some(message) = batch.get(index).filter(|message| matches(message.topic())) else {
                continue;
            };
            match self.sights.try_reserve() {
                Ok(room) if budget.take(now_ms) => {
                    room.send(self.sight(message, now_ms, event(index, message)));
                }
                _ => {
                    self.passed_over.fetch_add((end - index) as u64, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn sight(&self, message: MessageView<'_>, at_ms: u64, event: TapEvent) -> Sight {
        let headers = message.headers();
        let headers = headers.iter().take(MAX_SHOWN).map(|(name, value)| ShownHeader {
            name: name.to_owned(),
            value: shown(value, MAX_SHOWN_BYTES, ShownValue::Value, ShownValue::ValueHex),
        });
        let payload = message.payload();
        Sight {
            at_ms,
            topic: message.topic().to_owned(),
            key: message
                .key()
                .map(|key| shown(key, MAX_SHOWN_BYTES, ShownKey::Key, ShownKey::KeyHex)),
            headers: headers.collect(),
            payload: shown(
                payload,
                self.filter.payload_bytes,
                ShownPayload::Payload,
                ShownPayload::PayloadHex,
            ),
            payload_bytes: payload.len(),
            event,
        }
    }
}

/// The beginning of bytes: as text, if that is what they begin with.
fn shown<T>(bytes: &[u8], most: usize, text: fn(String) -> T, other: fn(String) -> T) -> T {
    let part = bytes.get(..most).unwrap_or(bytes);
    match std::str::from_utf8(part) {
        Ok(whole) => text(whole.to_owned()),
        // A cut may fall into a character.
        Err(error) if error.error_len().is_none() && part.len() < bytes.len() => text(
            String::from_utf8_lossy(part.get(..error.valid_up_to()).unwrap_or(part)).into_owned(),
        ),
        Err(_) => other(hex(part)),
    }
}

/// What a stage's answer says of one message.
pub(crate) fn shown_verdict(
    index: usize,
    message: MessageView<'_>,
    output: &StageOutput,
    folded: &Folded,
) -> ShownVerdict {
    if folded.following.iter().any(|following| *following as usize == index) {
        return ShownVerdict::Wait;
    }
    // Where one of what it emits has no topic that may be, it is a dead letter like one that is rejected.
    if let Some(failed) = folded.failed.iter().find(|failed| failed.index as usize == index) {
        return ShownVerdict::Reject(failed.error.clone());
    }
    match output.verdicts.get(index) {
        Some(Verdict::Drop) => ShownVerdict::Drop,
        Some(Verdict::Emit(_)) => ShownVerdict::Emit(emitted_topics(index, message, output)),
        Some(Verdict::Retry(after_ms)) => ShownVerdict::Retry(*after_ms),
        Some(Verdict::Reject(reason)) => ShownVerdict::Reject(reason.clone()),
        Some(Verdict::Forward) | None => ShownVerdict::Forward,
    }
}

/// The topics of what replaces a message.
fn emitted_topics(index: usize, message: MessageView<'_>, output: &StageOutput) -> Vec<String> {
    let Some(emitted) = &output.emitted else {
        return Vec::new();
    };
    // The sources stand in order, as folding has checked.
    let first = emitted.sources.partition_point(|source| (*source as usize) < index);
    let behind = emitted.sources.partition_point(|source| *source as usize <= index);
    let topic = |position| match ChangeColumn::at(emitted.topics.as_ref(), position) {
        (Change::Set, topic) => String::from_utf8_lossy(topic).into_owned(),
        _ => message.topic().to_owned(),
    };
    (first..behind).take(MAX_SHOWN).map(topic).collect()
}
