//! Dead letters for operators: what streams keep of them, and letters that leave.
//!
//! A stream only grows, so that a letter leaves by being noted: storage keeps the letters of each partition that were
//! replayed or purged as the position of a group of the router's own, which moves in the same write as what
//! a replay stores. One change is made at a time. What is read and held at once is bounded, however many letters there
//! are: whoever wants more goes on where the last answer ended.

mod error;
mod leave;
mod metrics;
mod origin;
mod replay;
mod scan;
mod select;
mod stage;
#[cfg(test)]
mod tests;
mod told;
mod trial;

use std::{collections::HashMap, sync::Arc};

pub(crate) use error::DlqError;
pub use metrics::DlqMetrics;
pub(crate) use replay::ReplayTo;
pub(crate) use told::{
    LetterCount, LetterCounts, LetterDetails, LetterPage, LetterSelection, LetterSummary,
    LettersLeft, RefusedLetter, Wanted,
};
pub(crate) use trial::{LetterTrial, LetterTrials};
use waypost_core::{GroupName, LETTER_TOPICS, Partition, SettledLetters};
use waypost_protocol::Pattern;
use waypost_storage::Revision;

use crate::{router::Router, streams::Streams};

/// The dead letters of a router; cheap to clone.
#[derive(Debug, Clone)]
pub struct Dlq(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    streams: Streams,
    router: Router,
    metrics: DlqMetrics,
    /// Held by whoever lets letters leave.
    changing: tokio::sync::Mutex<()>,
}

/// What storage has of the letters that have left, by partition.
#[derive(Debug, Default)]
struct Settled(HashMap<Partition, (Revision, SettledLetters)>);

impl Settled {
    fn of(&self, partition: &Partition) -> (Option<Revision>, SettledLetters) {
        match self.0.get(partition) {
            Some((revision, settled)) => (Some(*revision), settled.clone()),
            None => (None, SettledLetters::default()),
        }
    }
}

impl Dlq {
    /// The letters that these streams keep.
    #[must_use]
    pub fn new(streams: Streams, router: Router, metrics: DlqMetrics) -> Self {
        Self(Arc::new(Inner { streams, router, metrics, changing: tokio::sync::Mutex::default() }))
    }

    /// The letters that have left, as storage has them now.
    async fn settled(&self) -> Result<Settled, DlqError> {
        let kept = self.0.streams.storage().group(GroupName::of_letters()).await?;
        let settled = kept
            .into_iter()
            .map(|kept| (kept.source, (kept.revision, SettledLetters::new(kept.state.position))));
        Ok(Settled(settled.collect()))
    }

    /// The routes whose letters no stream keeps.
    fn not_kept(&self) -> Vec<String> {
        let plans = self.0.router.plans().all();
        let names = plans.iter().map(|plan| &plan.definition.name);
        let lost =
            names.filter(|name| self.0.streams.table().of(&name.dead_letter_topic()).is_none());
        lost.map(|name| name.as_str().to_owned()).collect()
    }
}

/// The topics of all letters.
fn letter_topics() -> Pattern {
    match Pattern::parse(&format!("{LETTER_TOPICS}>")) {
        Ok(pattern) => pattern,
        Err(_) => unreachable!("it is a topic's first level and a wildcard"),
    }
}
