//! From what operators ask for to what is looked for.

use waypost_core::{LetterAddress, LetterFilter, Partition, StreamDefinition};
use waypost_protocol::ErrorCode;

use super::{Dlq, DlqError, Wanted, letter_topics};

/// Letters in one answer or change at most.
pub(super) const MOST_LETTERS: usize = 1000;
/// The same where nothing else is said.
const USUAL_LETTERS: u32 = 100;

/// Which letters are looked for.
#[derive(Debug)]
pub(super) struct Search {
    /// The partitions that keep letters, in order.
    pub(super) partitions: Vec<Partition>,
    /// Nothing before it is looked at.
    pub(super) from: Option<LetterAddress>,
    pub(super) filter: LetterFilter,
    pub(super) limit: usize,
}

impl Dlq {
    pub(super) fn search(&self, wanted: Wanted) -> Result<Search, DlqError> {
        let Wanted { stream, route, group, reason, since_ms, until_ms, from, limit } = wanted;
        let is_code = |text: &String| ErrorCode::ALL.iter().any(|code| code.name() == text);
        if let Some(reason) = reason.as_ref().filter(|text| !is_code(text)) {
            return Err(DlqError::Reason(reason.chars().take(64).collect()));
        }
        let from: Option<LetterAddress> = from.map(|text| text.parse()).transpose()?;
        let mut partitions = Vec::new();
        for definition in self.streams_of(stream.as_deref())? {
            let name = &definition.name;
            let indices = definition.partition_indices();
            partitions.extend(indices.map(|index| Partition { stream: name.clone(), index }));
        }
        if let Some(from) = &from {
            let at = partitions.iter().position(|partition| *partition == from.partition);
            let at = at.ok_or_else(|| DlqError::NoPartition(from.clone()))?;
            partitions.drain(..at);
        }
        let filter = LetterFilter { route, group, reason, since_ms, until_ms };
        let limit = limit.unwrap_or(USUAL_LETTERS).clamp(1, MOST_LETTERS as u32) as usize;
        Ok(Search { partitions, from, filter, limit })
    }

    /// The streams that keep letters; the one of this name, if one is named.
    pub(super) fn streams_of(
        &self,
        name: Option<&str>,
    ) -> Result<Vec<&StreamDefinition>, DlqError> {
        let all: Vec<_> = self.0.streams.table().overlapping(&letter_topics()).collect();
        let Some(name) = name else {
            return Ok(all);
        };
        match all.iter().find(|definition| definition.name.as_str() == name) {
            Some(definition) => Ok(vec![definition]),
            None => Err(DlqError::NoStream {
                name: name.chars().take(64).collect(),
                known: all.iter().map(|each| each.name.to_string()).collect(),
            }),
        }
    }
}
