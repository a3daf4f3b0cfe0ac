//! Putting what comes out of routes into streams, and what to do when storage refuses.

use std::time::Duration;

use waypost_core::{KeptOutput, Partition, RouteName};
use waypost_storage::{Append, CommitError, MessageId, Origin, Unit};

use crate::{router::outlet::Label, streams::Streams, time::now_ms};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What follows from a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may be taken later, when there is room.
    Again,
    /// Somebody else moved the progress.
    Moved,
    /// Nothing is stored any more: the process is about to end.
    Fenced,
    /// Storage is closed.
    Closed,
}

impl Refusal {
    pub(super) fn of(error: &CommitError) -> Self {
        match error {
            CommitError::Closed => Self::Closed,
            CommitError::Fenced { .. } | CommitError::Unknown { .. } => Self::Fenced,
            CommitError::ProgressMoved { .. } | CommitError::ProgressBack { .. } => Self::Moved,
            _ => Self::Again,
        }
    }
}

/// Waits that double up to a bound.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let next = (self.0 * 2).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.0, next)
    }
}

/// What partitions keep, ready to be appended; with the identities of a route's outputs where it reads a partition.
pub(super) fn appends(
    kept: Vec<KeptOutput<Label>>,
    origin: Option<(&RouteName, &Partition)>,
    now_ms: u64,
) -> Vec<Append> {
    let append = |KeptOutput { partition, messages, label }: KeptOutput<Label>| {
        // An output is known by the stages that it met: it may be one behind all of them, or a dead letter.
        let stage = u16::try_from(label.envelope.stages.len()).unwrap_or(u16::MAX);
        let (batch, traces) = messages.into_parts();
        let id = |trace: waypost_core::Trace| MessageId {
            offset: trace.offset,
            stage,
            index: trace.index,
        };
        let origin = origin.map(|(route, source)| Origin {
            route: route.clone(),
            source: source.clone(),
            messages: traces.into_iter().map(id).collect(),
        });
        Append { partition, batch, envelope: label.stored(now_ms), origin }
    };
    kept.into_iter().map(append).collect()
}

/// Appends what came out of a route over memory topics, however often storage refuses. Says whether it is stored;
/// otherwise storage is closed.
pub(in crate::router) async fn append(
    route: &RouteName,
    streams: &Streams,
    kept: Vec<KeptOutput<Label>>,
) -> bool {
    let unit = Unit { appends: appends(kept, None, now_ms()), ..Unit::default() };
    let mut pauses = Pauses::default();
    let mut refused = false;
    loop {
        let Err(error) = streams.storage().commit(unit.clone()).await else {
            break;
        };
        match Refusal::of(&error) {
            Refusal::Closed => return false,
            // Whether it was stored nobody can say, and the process ends.
            Refusal::Fenced => return std::future::pending().await,
            Refusal::Again | Refusal::Moved => {}
        }
        if !std::mem::replace(&mut refused, true) {
            tracing::error!(%route, %error, "outputs are not stored; the route waits and tries again");
        }
        tokio::time::sleep(pauses.next()).await;
    }
    if refused {
        tracing::info!(%route, "outputs are stored again");
    }
    streams.count_outputs(&unit.appends);
    true
}
