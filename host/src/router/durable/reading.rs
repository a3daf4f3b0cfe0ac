//! What a lane reads of its partition: the messages that its route takes, joined into batches.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::{Duration, Instant};
use waypost_core::{BatchPolicy, Lineage, MAX_HOPS, RouteName, Trace, Traced};
use waypost_protocol::{Offset, Pattern};
use waypost_storage::{Cursor, ReadLimit, Storage, Stored};

use super::LaneState;
use crate::{router::tail::pass, streams::Streams};

/// What is read at once, beyond its largest batch.
const READ: ReadLimit = ReadLimit { max_batches: 64, max_bytes: 1 << 20 };
/// How the topics of dead letters begin; only the router publishes there.
const LETTERS: &str = "$dead.";

/// A lane's place in its partition.
pub(super) struct Reading {
    route: RouteName,
    streams: Streams,
    cursor: Option<Cursor<dyn Storage>>,
    state: Arc<LaneState>,
    /// Read and not taken yet.
    ready: VecDeque<Stored>,
    /// When the first of them was read.
    since: Instant,
    /// The offset that is taken next.
    next: Offset,
    /// The last read failed.
    is_failing: bool,
}

/// What comes next.
#[derive(Debug)]
pub(super) struct Taken {
    /// The messages that the route takes, if it takes any.
    pub(super) input: Option<Traced>,
    pub(super) lineage: Lineage,
    /// They went through as many routes as they may, and meet no stage.
    pub(super) is_at_limit: bool,
    /// Everything before this offset is behind the lane then.
    pub(super) end: Offset,
}

impl Reading {
    pub(super) fn new(
        route: RouteName,
        streams: &Streams,
        state: Arc<LaneState>,
        from: Offset,
    ) -> Self {
        // A partition that has bounds has a head.
        let cursor = Cursor::new(streams.storage().clone(), state.partition.clone(), from).ok();
        let streams = streams.clone();
        let (ready, since) = (VecDeque::new(), Instant::now());
        Self { route, streams, cursor, state, ready, since, next: from, is_failing: false }
    }

    /// Resolves when there is something to be taken, and by the policy enough of it. Dropping the future loses
    /// nothing.
    pub(super) async fn filled(&mut self, policy: BatchPolicy) {
        let linger = Duration::from_millis(policy.linger_ms.into());
        loop {
            if self.ready.is_empty() {
                self.read().await;
                self.since = Instant::now();
                continue;
            }
            let messages: usize = self.ready.iter().map(|stored| stored.batch.len()).sum();
            let bytes: usize = self.ready.iter().map(|stored| stored.batch.byte_len()).sum();
            let is_enough =
                messages >= policy.max_messages as usize || bytes >= policy.max_bytes as usize;
            if is_enough || linger.is_zero() {
                return;
            }
            if tokio::time::timeout_at(self.since + linger, self.read()).await.is_err() {
                return;
            }
        }
    }

    /// Reads more. It does not come back when storage is closed.
    async fn read(&mut self) {
        let Some(cursor) = &mut self.cursor else {
            return std::future::pending().await;
        };
        match cursor.next(READ).await {
            Ok(Some(chunk)) => {
                if std::mem::take(&mut self.is_failing) {
                    self.state.go_on();
                }
                for stored in &chunk.batches {
                    self.state.read(stored.end(), stored.envelope.ingest_ms);
                }
                self.ready.extend(chunk.batches);
            }
            Ok(None) => std::future::pending().await,
            Err(error) => match pass(cursor, &error, self.route.as_str()).await {
                0 => {
                    self.state.stall(error.to_string());
                    self.is_failing = true;
                }
                missed => self.state.miss(missed),
            },
        }
    }

    /// Takes what may be one batch, from the front.
    pub(super) fn take(&mut self, source: &Pattern, policy: BatchPolicy) -> Option<Taken> {
        let first = self.ready.front()?;
        let lineage = lineage_of(first);
        let is_alike = |stored: &Stored| {
            let other = lineage_of(stored);
            (other.hops, other.is_letter) == (lineage.hops, lineage.is_letter)
        };
        let (mut pieces, mut messages, mut bytes) = (Vec::new(), 0, 0);
        while let Some(stored) = self.ready.front() {
            let (more, size) = (stored.batch.len(), stored.batch.byte_len());
            let fits = messages + more <= policy.max_messages as usize
                && bytes + size <= policy.max_bytes as usize;
            if !is_alike(stored) || !(pieces.is_empty() || fits) {
                break;
            }
            if let Some(piece) = self.living(stored, select(stored, source, self.next)) {
                messages += piece.batch().len();
                bytes += piece.batch().byte_len();
                pieces.push(piece);
            }
            self.next = stored.end();
            self.ready.pop_front();
        }
        let is_at_limit = lineage.hops >= MAX_HOPS;
        // A letter that may go into no route says so by its hops.
        let input = Traced::join(&pieces).filter(|_| !(is_at_limit && lineage.is_letter));
        Some(Taken { input, lineage, is_at_limit, end: self.next })
    }
}

impl Reading {
    /// What lives of the messages that a route takes of a batch.
    fn living(&self, stored: &Stored, taken: Option<Traced>) -> Option<Traced> {
        let taken = taken?;
        match self.streams.living(taken.batch(), stored.envelope.ingest_ms) {
            None => Some(taken),
            Some(living) => taken.gather(&living),
        }
    }
}

fn lineage_of(stored: &Stored) -> Lineage {
    let is_letter = stored.batch.get(0).is_some_and(|first| first.topic().starts_with(LETTERS));
    let (ingest_ms, hops) = (stored.envelope.ingest_ms, stored.envelope.hops);
    Lineage { ingest_ms, hops, is_letter }
}

/// The messages of a batch from an offset on that a route takes.
fn select(stored: &Stored, source: &Pattern, from: Offset) -> Option<Traced> {
    let offsets = stored.base.0..;
    let traces = offsets.take(stored.batch.len()).map(|offset| Trace::read(Offset(offset)));
    let whole = Traced::new(stored.batch.clone(), traces.collect())?;
    let single = stored.batch.single_topic().map(|topic| source.matches(topic));
    let indices = (0_u32..).zip(stored.batch.iter()).zip(whole.traces());
    let is_taken = |topic: &str| single.unwrap_or_else(|| source.matches(topic));
    let indices =
        indices.filter(|((_, message), trace)| trace.offset >= from && is_taken(message.topic()));
    let indices: Vec<u32> = indices.map(|((index, _), _)| index).collect();
    whole.gather(&indices)
}
