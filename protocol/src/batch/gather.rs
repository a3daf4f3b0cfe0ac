//! A batch made of others: a subset of one, one under another topic, several as one.

use super::{
    Batch,
    assemble::{Run, assemble},
};
use crate::Topic;

impl Batch {
    /// The messages at these indices, in this order, as a batch. All of them in their own order give
    /// the same buffer. `None` when there is no index, or one is past the end.
    #[must_use]
    pub fn gather(&self, indices: &[u32]) -> Option<Self> {
        if indices.iter().any(|&index| index as usize >= self.len()) {
            return None;
        }
        let mut runs = Vec::new();
        let mut rest = indices;
        while let Some(&first) = rest.first() {
            let run = rest
                .iter()
                .zip(u64::from(first)..)
                .take_while(|(index, next)| u64::from(**index) == *next);
            let length = run.count();
            if length == self.len() && length == indices.len() {
                return Some(self.clone());
            }
            runs.push(Run { batch: self, range: first as usize..first as usize + length });
            rest = rest.get(length..).unwrap_or_default();
        }
        assemble(&runs, None)
    }

    /// The same messages, all under this topic; the same buffer when they are so already. `None`
    /// when the batch would outgrow what a length can say.
    #[must_use]
    pub fn with_topic(&self, topic: &Topic) -> Option<Self> {
        if self.single_topic() == Some(topic.as_str()) {
            return Some(self.clone());
        }
        assemble(&[Run { batch: self, range: 0..self.len() }], Some(topic.as_str()))
    }

    /// The messages of these batches one after the other; the same buffer when there is one batch. `None` when there
    /// is none, or the batch would outgrow what a length can say.
    #[must_use]
    pub fn join<'a>(batches: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let whole = |batch: &'a Self| Run { batch, range: 0..batch.len() };
        let runs: Vec<_> = batches.into_iter().map(whole).collect();
        match runs.as_slice() {
            [alone] => Some(alone.batch.clone()),
            runs => assemble(runs, None),
        }
    }
}
