//! Reading letters: through all of them in order, or one by its address.

use std::collections::BTreeMap;

use waypost_core::{LETTER_TOPICS, Letter, LetterAddress, Partition};
use waypost_protocol::{Batch, Offset};
use waypost_storage::{ReadError, ReadLimit, Seek, Stored};

use super::{
    Dlq, DlqError, LetterCount, LetterCounts, LetterDetails, LetterPage, LetterSummary, Settled,
    Wanted, select::Search,
};

/// What is read at once, beyond a batch: what is done with it holds the router's thread.
const READ: ReadLimit = ReadLimit { max_batches: 16, max_bytes: 256 << 10 };
/// One batch.
const ONE: ReadLimit = ReadLimit { max_batches: 1, max_bytes: 1 };
/// Messages that are looked at for one answer.
const LOOKED_AT: u64 = 200_000;

/// A letter that was found, as a batch of its own.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) address: LetterAddress,
    pub(super) batch: Batch,
    /// The plugin of the stage that it failed in.
    pub(super) plugin: Option<String>,
}

/// How far a search came.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Where to go on.
    pub(super) next: Option<LetterAddress>,
    /// Messages that are damaged.
    pub(super) damaged: u64,
}

impl Found {
    fn of(address: LetterAddress, stored: &Stored, index: usize) -> Option<Self> {
        let batch = stored.batch.part(index..index + 1)?;
        let stage = batch.get(0).and_then(Letter::read)?.stage.map(str::to_owned);
        let mut runs = stored.envelope.stages.iter().rev();
        let run = runs.find(|run| Some(&run.stage) == stage.as_ref());
        let plugin = run.map(|run| run.plugin.clone());
        Some(Self { address, plugin, batch })
    }

    /// What the letter says.
    pub(super) fn letter(&self) -> Option<Letter<'_>> {
        self.batch.get(0).and_then(Letter::read)
    }
}

impl Dlq {
    /// Letters in the order of their streams.
    pub(crate) async fn list(&self, wanted: Wanted) -> Result<LetterPage, DlqError> {
        let search = self.search(wanted)?;
        let settled = self.settled().await?;
        let (limit, mut letters) = (search.limit, Vec::new());
        let scanned = self.scan(&search, &settled, |address, letter, _, _| {
            letters.push(LetterSummary::of(&address, letter));
            letters.len() < limit
        });
        let Scanned { next, damaged } = scanned.await?;
        let (next, until_ms) = (next.map(|next| next.to_string()), search.filter.until_ms);
        Ok(LetterPage { letters, next, until_ms, damaged, not_kept: self.not_kept() })
    }

    /// How many letters there are, by who gave up on them and why.
    pub(crate) async fn count(&self, wanted: Wanted) -> Result<LetterCounts, DlqError> {
        let search = self.search(wanted)?;
        let settled = self.settled().await?;
        let mut counts: BTreeMap<_, LetterCount> = BTreeMap::new();
        let scanned = self.scan(&search, &settled, |_, letter, _, _| {
            // Reasons are the router's own, and names those of its configuration in time.
            let kind = (format!("{:?}", letter.giver), letter.reason.to_owned());
            let one = LetterCount { letters: 1, ..LetterCount::of(letter) };
            counts.entry(kind).or_insert_with(|| LetterCount::of(letter)).add(&one);
            true
        });
        let Scanned { next, damaged } = scanned.await?;
        let counts = counts.into_values().collect();
        let (next, until_ms) = (next.map(|next| next.to_string()), search.filter.until_ms);
        Ok(LetterCounts { counts, next, until_ms, damaged, not_kept: self.not_kept() })
    }

    /// A letter whole.
    pub(crate) async fn show(&self, address: &LetterAddress) -> Result<LetterDetails, DlqError> {
        let settled = self.settled().await?;
        let found = self.find(address, &settled).await?;
        let letter = found.letter().ok_or_else(|| DlqError::NotALetter(address.clone()))?;
        Ok(LetterDetails::of(address, &letter, found.plugin.clone()))
    }

    /// The letter at an address, if it has not left.
    pub(super) async fn find(
        &self,
        address: &LetterAddress,
        settled: &Settled,
    ) -> Result<Found, DlqError> {
        let LetterAddress { partition, offset } = address;
        self.streams_of(Some(partition.stream.as_str()))?;
        let storage = self.0.streams.storage();
        let read = storage.read(partition.clone(), *offset, ONE).await;
        let chunk = read.map_err(|error| match error {
            ReadError::UnknownPartition(_) => DlqError::NoPartition(address.clone()),
            ReadError::Trimmed { first, .. } => {
                DlqError::Trimmed { address: address.clone(), first }
            }
            ReadError::Ahead { next, .. } => DlqError::NotThere { address: address.clone(), next },
            error => error.into(),
        })?;
        let Some(stored) = chunk.batches.first() else {
            return Err(DlqError::NotThere { address: address.clone(), next: *offset });
        };
        let index = usize::try_from(offset.0.saturating_sub(stored.base.0)).unwrap_or(usize::MAX);
        let message = stored.batch.get(index).filter(|it| it.topic().starts_with(LETTER_TOPICS));
        let found = message.and_then(|_| Found::of(address.clone(), stored, index));
        let found = found.ok_or_else(|| DlqError::NotALetter(address.clone()))?;
        if settled.of(partition).1.has(*offset) {
            return Err(DlqError::Left(address.clone()));
        }
        Ok(found)
    }

    /// The letters of a search, up to so many of them and so many bytes.
    pub(super) async fn collect(
        &self,
        search: &Search,
        settled: &Settled,
        most_bytes: usize,
    ) -> Result<(Vec<Found>, Scanned), DlqError> {
        let (mut letters, mut bytes) = (Vec::new(), 0);
        let scanned = self.scan(search, settled, |address, _, stored, index| {
            if let Some(found) = Found::of(address, stored, index) {
                bytes += found.batch.byte_len();
                letters.push(found);
            }
            letters.len() < search.limit && bytes < most_bytes
        });
        let scanned = scanned.await?;
        Ok((letters, scanned))
    }

    /// Hands each letter of a search to `take` until that wants no more.
    async fn scan(
        &self,
        search: &Search,
        settled: &Settled,
        mut take: impl FnMut(LetterAddress, &Letter<'_>, &Stored, usize) -> bool,
    ) -> Result<Scanned, DlqError> {
        let (mut scanned, mut looked_at) = (Scanned::default(), 0);
        for partition in &search.partitions {
            let (_, left) = settled.of(partition);
            let mut at = self.beginning(partition, search).await?.max(left.floor());
            loop {
                let Some(chunk) = self.read(partition, &mut at, &mut scanned.damaged).await? else {
                    break;
                };
                for stored in &chunk {
                    for (offset, (index, message)) in
                        (stored.base.0..).map(Offset).zip(stored.batch.iter().enumerate())
                    {
                        looked_at += 1;
                        let is_open = offset >= at && !left.has(offset);
                        if !is_open || !message.topic().starts_with(LETTER_TOPICS) {
                            continue;
                        }
                        let letter = Letter::read(message);
                        let Some(letter) = letter.filter(|letter| search.filter.takes(letter))
                        else {
                            continue;
                        };
                        let address = LetterAddress { partition: partition.clone(), offset };
                        if !take(address, &letter, stored, index) {
                            scanned.next = Some(behind(partition, Offset(offset.0 + 1)));
                            return Ok(scanned);
                        }
                    }
                    at = stored.end();
                }
                if looked_at >= LOOKED_AT {
                    scanned.next = Some(behind(partition, at));
                    return Ok(scanned);
                }
                // What is in memory is read without a wait.
                tokio::task::yield_now().await;
            }
        }
        Ok(scanned)
    }

    /// Where a search begins in a partition.
    async fn beginning(&self, partition: &Partition, search: &Search) -> Result<Offset, DlqError> {
        let storage = self.0.streams.storage();
        match &search.from {
            Some(from) if from.partition == *partition => Ok(from.offset),
            // A letter is stored after it failed.
            _ => {
                let since = search.filter.since_ms.map_or(Seek::Beginning, Seek::Time);
                Ok(storage.seek(partition.clone(), since).await?)
            }
        }
    }

    /// The next batches, from an offset that moves over what is gone; none at the end.
    async fn read(
        &self,
        partition: &Partition,
        at: &mut Offset,
        damaged: &mut u64,
    ) -> Result<Option<Vec<Stored>>, DlqError> {
        loop {
            match self.0.streams.storage().read(partition.clone(), *at, READ).await {
                Ok(chunk) => return Ok((!chunk.batches.is_empty()).then_some(chunk.batches)),
                Err(ReadError::Trimmed { first, .. }) => *at = first,
                Err(ReadError::Ahead { .. }) => return Ok(None),
                Err(ReadError::Damaged { resume: Some(resume), .. }) if resume > *at => {
                    *damaged += resume.0 - at.0;
                    *at = resume;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn behind(partition: &Partition, offset: Offset) -> LetterAddress {
    LetterAddress { partition: partition.clone(), offset }
}
