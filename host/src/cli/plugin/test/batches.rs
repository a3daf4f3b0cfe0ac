//! Lines become batches, as a publisher's lines do.

use std::collections::VecDeque;

use anyhow::Context as _;
use waypost_core::BatchPolicy;
use waypost_protocol::{Batch, BatchBuilder, HeadersBuilder, Limits, Topic};

use crate::{
    cli::lines::{Line, Lines, MessageOptions},
    time::now_ms,
};

/// A batch and where its messages come from.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) batch: Batch,
    /// The line of each message.
    pub(super) lines: Vec<u64>,
}

/// Forms batches by the policy that a route has unless it says otherwise.
pub(super) struct Batches {
    lines: Lines,
    topic: Topic,
    message: MessageOptions,
    headers: HeadersBuilder,
    builder: BatchBuilder,
    /// The lines of the messages in the builder.
    numbers: Vec<u64>,
    /// At most two: the one that was full, and a message that goes alone.
    full: VecDeque<Input>,
}

impl Batches {
    pub(super) fn new(lines: Lines, topic: Topic, message: MessageOptions) -> anyhow::Result<Self> {
        let mut headers = HeadersBuilder::new();
        for (name, value) in message.headers() {
            headers.push(name, value.as_bytes()).with_context(|| format!("the header {name}"))?;
        }
        let (numbers, full) = (Vec::new(), VecDeque::new());
        Ok(Self { lines, topic, message, headers, builder: builder(), numbers, full })
    }

    /// Where the messages come from.
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// The next batch; `None` at the end of the input.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Input>> {
        while self.full.is_empty() {
            let Some(Line { number, text }) = self.lines.next().await? else {
                return Ok(self.close());
            };
            let text = text.with_context(|| format!("line {number} makes no message"))?;
            let key = self.message.key_of(text);
            let push = |builder: &mut BatchBuilder| {
                let headers = self.headers.as_bytes();
                builder.push(self.topic.as_str(), key.as_deref(), headers, text, now_ms())
            };
            if push(&mut self.builder).is_ok() {
                self.numbers.push(number);
                continue;
            }
            // It is full, or the message is larger than its bound and goes alone.
            let mut next = builder();
            let fits = push(&mut next).is_ok();
            if !fits {
                next = BatchBuilder::new();
                push(&mut next).with_context(|| format!("line {number} makes no message"))?;
            }
            let full = self.close();
            self.full.extend(full);
            self.builder = next;
            self.numbers.push(number);
            if !fits {
                let alone = self.close();
                self.full.extend(alone);
            }
        }
        Ok(self.full.pop_front())
    }

    fn close(&mut self) -> Option<Input> {
        let batch = self.builder.finish()?;
        self.builder = builder();
        Some(Input { batch, lines: std::mem::take(&mut self.numbers) })
    }
}

/// A builder that takes as much as the policy lets a batch hold.
fn builder() -> BatchBuilder {
    let BatchPolicy { max_messages, max_bytes, .. } = BatchPolicy::default();
    let (max_batch_messages, max_frame_bytes) = (max_messages, max_bytes);
    BatchBuilder::with_limits(Limits { max_batch_messages, max_frame_bytes, ..Limits::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of each batch that this input makes.
    async fn batches(input: &[u8]) -> Vec<Vec<u64>> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), input).expect("it takes bytes");
        let lines = Lines::open(file.path()).await.expect("it is there");
        let topic = "in".parse().expect("a topic");
        let mut batches =
            Batches::new(lines, topic, MessageOptions::default()).expect("no headers");
        let mut found = Vec::new();
        while let Some(input) = batches.next().await.expect("the messages are good") {
            assert_eq!(input.batch.len(), input.lines.len());
            found.push(input.lines);
        }
        found
    }

    #[tokio::test]
    async fn batches_keep_the_policys_bounds_and_lose_no_line() {
        let most = u64::from(BatchPolicy::default().max_messages);
        let found = batches("x\n".repeat(1500).as_bytes()).await;
        assert_eq!(found, [(1..=most).collect::<Vec<_>>(), (most + 1..=1500).collect()]);
        assert!(batches(b"").await.is_empty());
    }

    #[tokio::test]
    async fn a_message_larger_than_a_batch_goes_alone() {
        let limits = Limits::default();
        let large = limits.max_message_bytes as usize - 2;
        let input = [b"a\n".to_vec(), vec![b'x'; large], b"\nb\nc\n".to_vec()].concat();
        assert_eq!(batches(&input).await, [vec![1], vec![2], vec![3, 4]]);
    }
}
