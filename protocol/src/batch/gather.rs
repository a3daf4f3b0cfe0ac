//! A batch made of another: a subset of its messages, or all of them under another topic.

use super::{Batch, builder::Columns};
use crate::Topic;

impl Batch {
    /// The messages at these indices, in this order, as a batch. All of them in their own order give
    /// the same buffer. `None` when there is no index, or one is past the end.
    #[must_use]
    pub fn gather(&self, indices: &[u32]) -> Option<Self> {
        if indices.iter().any(|&index| index as usize >= self.len()) {
            return None;
        }
        let mut columns = Columns::default();
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
            columns.push_run(self, first as usize..first as usize + length);
            rest = rest.get(length..).unwrap_or_default();
        }
        columns.assemble()
    }

    /// The same messages, all under this topic; the same buffer when they are so already. `None`
    /// when the batch would outgrow what a length can say.
    #[must_use]
    pub fn with_topic(&self, topic: &Topic) -> Option<Self> {
        if self.single_topic() == Some(topic.as_str()) {
            return Some(self.clone());
        }
        let mut columns = Columns::default();
        columns.push_under(self, topic.as_str().as_bytes());
        columns.assemble()
    }
}
