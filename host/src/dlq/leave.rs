//! Letters that leave.

use std::collections::BTreeMap;

use tokio::{sync::MutexGuard, time::Duration};
use waypost_core::{GroupName, LetterAddress};
use waypost_protocol::Offset;
use waypost_storage::{Append, GroupState, GroupStep, Unit};

use super::{
    Dlq, DlqError, LetterSelection, LettersLeft, Settled, letter_topics, scan::Found,
    select::MOST_LETTERS,
};
use crate::time::now_ms;

/// Bytes of letters that are held and leave at once, beyond the last of them.
const MOST_BYTES: usize = 4 << 20;

/// How long letters wait for those before them to leave.
const PATIENCE: Duration = Duration::from_secs(20);

/// The letters of a request, and how it goes on.
pub(super) struct Selected {
    pub(super) letters: Vec<Found>,
    pub(super) settled: Settled,
    pub(super) next: Option<String>,
    pub(super) until_ms: u64,
}

impl Dlq {
    /// Lets letters leave for good. One after another, so that nobody lets the same letter leave twice.
    pub(crate) async fn purge(
        &self,
        selection: LetterSelection,
        dry_run: bool,
    ) -> Result<LettersLeft, DlqError> {
        let _turn = self.turn().await?;
        let Selected { letters, settled, next, until_ms } = self.select(selection).await?;
        if !dry_run {
            self.commit(&letters, &settled, Vec::new()).await?;
            for Found { address, .. } in &letters {
                let stream = address.partition.stream.as_str();
                self.0.metrics.purged.with_label_values(&[stream]).inc();
            }
        }
        Ok(LettersLeft { letters: letters.len() as u64, next, until_ms, refused: Vec::new() })
    }

    /// Awaits that nobody else lets letters leave.
    pub(super) async fn turn(&self) -> Result<MutexGuard<'_, ()>, DlqError> {
        let turn = tokio::time::timeout(PATIENCE, self.0.changing.lock()).await;
        turn.map_err(|_| DlqError::Busy)
    }

    /// The letters that a request names, as many as one change takes.
    pub(super) async fn select(&self, selection: LetterSelection) -> Result<Selected, DlqError> {
        let settled = self.settled().await?;
        match selection {
            LetterSelection { letters: named, filter: None } if !named.is_empty() => {
                if named.len() > MOST_LETTERS {
                    return Err(DlqError::TooMany(named.len()));
                }
                let mut addresses: Vec<LetterAddress> = Vec::new();
                for text in named {
                    addresses.push(text.parse()?);
                }
                addresses.sort();
                addresses.dedup();
                let (mut letters, mut bytes, mut next) = (Vec::new(), 0, None);
                for address in &addresses {
                    if bytes >= MOST_BYTES {
                        next = Some(address.to_string());
                        break;
                    }
                    let found = self.find(address, &settled).await?;
                    bytes += found.batch.byte_len();
                    letters.push(found);
                }
                Ok(Selected { letters, settled, next, until_ms: now_ms() })
            }
            LetterSelection { letters, filter: Some(mut wanted) } if letters.is_empty() => {
                // What a replay leads to is not found by the same search again.
                let until_ms = *wanted.until_ms.get_or_insert_with(now_ms);
                let search = self.search(wanted)?;
                let (letters, scanned) = self.collect(&search, &settled, MOST_BYTES).await?;
                let next = scanned.next.map(|it| it.to_string());
                Ok(Selected { letters, settled, next, until_ms })
            }
            _ => Err(DlqError::Selection),
        }
    }

    /// Commits that letters leave, with what is stored of them elsewhere.
    pub(super) async fn commit(
        &self,
        letters: &[Found],
        settled: &Settled,
        appends: Vec<Append>,
    ) -> Result<(), DlqError> {
        if letters.is_empty() {
            return Ok(());
        }
        let groups = self.steps(letters, settled)?;
        let streams = &self.0.streams;
        let unit = Unit { appends, step: None, groups };
        streams.storage().commit(unit.clone()).await?;
        streams.count_outputs(&unit.appends);
        Ok(())
    }

    /// How what is kept of letters that have left changes when these do.
    pub(super) fn steps(
        &self,
        letters: &[Found],
        settled: &Settled,
    ) -> Result<Vec<GroupStep>, DlqError> {
        let mut offsets: BTreeMap<_, Vec<Offset>> = BTreeMap::new();
        for Found { address, .. } in letters {
            offsets.entry(&address.partition).or_default().push(address.offset);
        }
        let step = |(partition, offsets)| {
            let first = self.0.streams.storage().bounds(partition)?.first;
            let (from, mut left) = settled.of(partition);
            left.settle(first, offsets)?;
            let state = GroupState { pattern: letter_topics(), position: left.into_position() };
            let (group, source) = (GroupName::of_letters(), partition.clone());
            Ok(GroupStep { group, source, from, to: Some(state) })
        };
        offsets.into_iter().map(step).collect()
    }
}
