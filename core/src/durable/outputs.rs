//! What leaves a route, by the partitions that keep it.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use waypost_protocol::{Limits, MessageView, Offset, partition_of};

use crate::{Partition, PartitionIndex, StreamDefinition, StreamTable, Traced};

/// Outputs for one partition are joined up to this size.
const JOINED_BYTES: usize = 1 << 20;

/// Messages that left a route together, with what is said of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output<T> {
    /// The messages, each with the topic that it goes to.
    pub messages: Traced,
    /// What is said of all of them. Only what has an equal label is joined.
    pub label: T,
}

/// Messages that one partition keeps, as one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptOutput<T> {
    /// Which partition.
    pub partition: Partition,
    /// The messages.
    pub messages: Traced,
    /// What is said of all of them.
    pub label: T,
}

/// What becomes of outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledOutputs<T> {
    /// What streams keep; the batches of a partition stand in order.
    pub kept: Vec<KeptOutput<T>>,
    /// What no stream keeps, in order.
    pub rest: Vec<Output<T>>,
}

/// Gives each message to the stream that keeps its topic: to the partition of its key, or without one to that of
/// this number, modulo their count. Order within a partition is that of the outputs.
#[must_use]
pub fn keep_outputs<T: Clone + PartialEq>(
    outputs: Vec<Output<T>>,
    streams: &StreamTable,
    keyless: u32,
) -> SettledOutputs<T> {
    let mut open: Vec<Open<T>> = Vec::new();
    let (mut kept, mut rest) = (Vec::new(), Vec::new());
    for Output { messages, label } in outputs {
        for (partition, messages) in parts(messages, streams, keyless) {
            let Some(partition) = partition else {
                rest.push(Output { messages, label: label.clone() });
                continue;
            };
            match open.iter_mut().find(|each| each.partition == partition) {
                Some(each) if each.takes(&messages, &label) => each.push(messages),
                Some(each) => {
                    let next = Open::new(partition, messages, label.clone());
                    kept.extend(std::mem::replace(each, next).close());
                }
                None => open.push(Open::new(partition, messages, label.clone())),
            }
        }
    }
    kept.extend(open.into_iter().flat_map(Open::close));
    SettledOutputs { kept, rest }
}

/// Takes those messages out whose source stands before an offset, and leaves the others.
pub fn outputs_before<T: Clone>(outputs: &mut Vec<Output<T>>, offset: Offset) -> Vec<Output<T>> {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for Output { messages, label } in std::mem::take(outputs) {
        let all = (0_u32..).zip(messages.traces());
        let (early, late): (Vec<_>, Vec<_>) = all.partition(|(_, trace)| trace.offset < offset);
        for (some, to) in [(early, &mut taken), (late, &mut left)] {
            let indices: Vec<u32> = some.into_iter().map(|(index, _)| index).collect();
            let messages = messages.gather(&indices);
            to.extend(messages.map(|messages| Output { messages, label: label.clone() }));
        }
    }
    *outputs = left;
    taken
}

/// The messages by partition, in order of the first of each; the same buffer when they go to one place.
fn parts(
    messages: Traced,
    streams: &StreamTable,
    keyless: u32,
) -> Vec<(Option<Partition>, Traced)> {
    let batch = messages.batch();
    let place = |stream: &StreamDefinition, message: MessageView<'_>| {
        let index = match message.key() {
            Some(key) => partition_of(key, stream.partitions),
            None => keyless % stream.partitions,
        };
        (stream.name.clone(), index)
    };
    let single = batch.single_topic().map(|topic| streams.of(topic));
    match single {
        Some(None) => return vec![(None, messages)],
        Some(Some(stream)) if stream.partitions.get() == 1 => {
            return vec![(Some(Partition::new(stream.name.clone(), 0)), messages)];
        }
        _ => {}
    }
    let mut places = HashMap::new();
    let mut parts: Vec<Vec<u32>> = Vec::new();
    for (index, message) in (0_u32..).zip(batch.iter()) {
        let stream = single.unwrap_or_else(|| streams.of(message.topic()));
        let place = stream.map(|stream| place(stream, message));
        let number = *places.entry(place).or_insert_with(|| {
            parts.push(Vec::new());
            parts.len() - 1
        });
        if let Some(part) = parts.get_mut(number) {
            part.push(index);
        }
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_unstable_by_key(|(_, number)| *number);
    let part = |(place, indices): (Option<_>, Vec<u32>)| {
        let partition =
            place.map(|(stream, index)| Partition { stream, index: PartitionIndex(index) });
        Some((partition, messages.gather(&indices)?))
    };
    places.into_iter().map(|(place, _)| place).zip(parts).filter_map(part).collect()
}

/// Messages for a partition that further ones may join.
struct Open<T> {
    partition: Partition,
    label: T,
    pieces: Vec<Traced>,
    messages: usize,
    bytes: usize,
}

impl<T: PartialEq> Open<T> {
    fn new(partition: Partition, first: Traced, label: T) -> Self {
        let mut open = Self { partition, label, pieces: Vec::new(), messages: 0, bytes: 0 };
        open.push(first);
        open
    }

    fn takes(&self, messages: &Traced, label: &T) -> bool {
        let most = Limits::default().max_batch_messages as usize;
        let batch = messages.batch();
        self.label == *label
            && self.messages + batch.len() <= most
            && self.bytes + batch.byte_len() <= JOINED_BYTES
    }

    fn push(&mut self, messages: Traced) {
        self.messages += messages.batch().len();
        self.bytes += messages.batch().byte_len();
        self.pieces.push(messages);
    }

    /// One batch of all pieces; should they not fit, each goes by itself.
    fn close(self) -> impl Iterator<Item = KeptOutput<T>>
    where
        T: Clone,
    {
        let Self { partition, label, pieces, .. } = self;
        let joined = Traced::join(&pieces).map_or(pieces, |joined| vec![joined]);
        joined.into_iter().map(move |messages| {
            let (partition, label) = (partition.clone(), label.clone());
            KeptOutput { partition, messages, label }
        })
    }
}
