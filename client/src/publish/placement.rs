//! Where messages belong: to memory topics, or to one partition of a stream. Pure.

use std::num::NonZeroU32;

use waypost_protocol::{Batch, Pattern, frame, partition_of};

/// Where a batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Destination {
    /// To memory topics.
    Memory,
    /// To a stream, by its place in the [`Placement`].
    Partition { stream: usize, partition: u32 },
}

/// The streams that the router named, and where keyless messages go at present.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// One that the router names no longer stays, without topics: batches may be on their way to it.
    streams: Vec<Stream>,
    /// The last topic and its stream: most batches have one topic.
    last: Option<(String, Option<usize>)>,
}

#[derive(Debug)]
struct Stream {
    name: String,
    topics: Vec<Pattern>,
    partitions: NonZeroU32,
    /// The partition of keyless messages, until a batch for it is full.
    keyless: u32,
}

impl Placement {
    /// Takes the streams that a router names. What it says in a way that is not known here is passed over:
    /// it refuses what is then misplaced. Keyless messages begin with the partition that `first` leads to.
    pub(super) fn set(&mut self, named: &[frame::Stream], first: u64) {
        self.last = None;
        self.streams.iter_mut().for_each(|stream| stream.topics.clear());
        for frame::Stream { name, topics, partitions } in named {
            let Some(partitions) = NonZeroU32::new(*partitions) else { continue };
            let topics = topics.iter().filter_map(|topic| Pattern::parse(topic).ok()).collect();
            let keyless = partition_of(&first.to_le_bytes(), partitions);
            let known = self.streams.iter_mut().find(|stream| stream.name == *name);
            let stream = Stream { name: name.clone(), topics, partitions, keyless };
            match known {
                Some(known) => *known = stream,
                None => self.streams.push(stream),
            }
        }
    }

    /// Where a message belongs.
    pub(super) fn of(&mut self, topic: &str, key: Option<&[u8]>) -> Destination {
        let Some(stream) = self.stream_of(topic) else {
            return Destination::Memory;
        };
        let Some(Stream { partitions, keyless, .. }) = self.streams.get(stream) else {
            return Destination::Memory;
        };
        let partition = key.map_or(*keyless, |key| partition_of(key, *partitions));
        Destination::Partition { stream, partition }
    }

    /// Where a whole batch belongs; `None` when it belongs to several places.
    pub(super) fn of_batch(&mut self, batch: &Batch) -> Option<Destination> {
        if self.streams.is_empty() {
            return Some(Destination::Memory);
        }
        let (mut whole, mut keyed) = (None, false);
        for message in batch.iter() {
            let own = self.of(message.topic(), message.key());
            let is_keyed = message.key().is_some() && own != Destination::Memory;
            match whole {
                None => (whole, keyed) = (Some(own), is_keyed),
                Some(known) if known == own => keyed |= is_keyed,
                // A keyless message goes along with the keys of its stream.
                Some(Destination::Partition { stream, .. })
                    if matches!(own, Destination::Partition { stream: other, .. } if other == stream)
                        && !(keyed && is_keyed) =>
                {
                    if is_keyed {
                        (whole, keyed) = (Some(own), true);
                    }
                }
                Some(_) => return None,
            }
        }
        whole
    }

    /// Takes note that a batch is full: the next keyless messages go to the next partition.
    pub(super) fn filled(&mut self, destination: Destination) {
        let Destination::Partition { stream, partition } = destination else { return };
        if let Some(Stream { keyless, partitions, .. }) = self.streams.get_mut(stream)
            && *keyless == partition
        {
            *keyless = (partition + 1) % *partitions;
        }
    }

    /// The stream and partition that a frame names; an empty name for memory topics.
    pub(super) fn named(&self, destination: Destination) -> (&str, u32) {
        match destination {
            Destination::Memory => ("", 0),
            Destination::Partition { stream, partition } => {
                (self.streams.get(stream).map_or("", |stream| &*stream.name), partition)
            }
        }
    }

    fn stream_of(&mut self, topic: &str) -> Option<usize> {
        if self.streams.is_empty() {
            return None;
        }
        if let Some((last, stream)) = &self.last
            && last == topic
        {
            return *stream;
        }
        let keeps = |stream: &Stream| stream.topics.iter().any(|pattern| pattern.matches(topic));
        let stream = self.streams.iter().position(keeps);
        self.last = Some((topic.to_owned(), stream));
        stream
    }
}

#[cfg(test)]
mod tests {
    use waypost_protocol::BatchBuilder;

    use super::*;

    fn placement() -> Placement {
        let stream = |name: &str, topic: &str, partitions| frame::Stream {
            name: name.into(),
            topics: vec![topic.into()],
            partitions,
        };
        let mut placement = Placement::default();
        placement.set(&[stream("orders", "orders.>", 4), stream("audit", "audit", 1)], 0);
        placement
    }

    fn partition(stream: usize, partition: u32) -> Destination {
        Destination::Partition { stream, partition }
    }

    fn batch(messages: &[(&str, Option<&str>)]) -> Batch {
        let mut builder = BatchBuilder::new();
        for (topic, key) in messages {
            builder.push(topic, key.map(str::as_bytes), &[], b"", 0).expect("it fits");
        }
        builder.finish().expect("there are messages")
    }

    #[test]
    fn a_key_has_its_partition_and_what_has_none_moves_on_when_a_batch_is_full() {
        let mut placement = placement();
        let four = NonZeroU32::new(4).expect("four is not zero");
        let of_key = partition(0, partition_of(b"k", four));
        assert_eq!(placement.of("orders.eu", Some(b"k")), of_key);
        assert_eq!(placement.of("audit", Some(b"k")), partition(1, 0));
        assert_eq!(placement.of("other", Some(b"k")), Destination::Memory);
        let before = placement.of("orders.eu", None);
        assert_eq!(placement.of("orders.us", None), before);
        placement.filled(before);
        assert_ne!(placement.of("orders.eu", None), before);
    }

    #[test]
    fn a_whole_batch_belongs_to_one_place_or_to_none() {
        let mut placement = placement();
        let keyed = placement.of("orders.a", Some(b"k"));
        let mut check = |messages: &[(&str, Option<&str>)], expected| {
            assert_eq!(placement.of_batch(&batch(messages)), expected, "{messages:?}");
        };
        check(&[("a", None), ("b", Some("k"))], Some(Destination::Memory));
        check(&[("orders.a", None), ("orders.b", Some("k")), ("orders.c", None)], Some(keyed));
        check(&[("orders.a", None), ("a", None)], None);
        check(&[("orders.a", None), ("audit", None)], None);
        let four = NonZeroU32::new(4).expect("four is not zero");
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let first = partition_of(b"a", four);
        let other = keys.into_iter().find(|key| partition_of(key.as_bytes(), four) != first);
        check(&[("orders.a", Some("a")), ("orders.a", other)], None);
    }

    #[test]
    fn a_stream_that_is_named_no_longer_keeps_its_place() {
        let mut placement = placement();
        placement.set(&[], 0);
        assert_eq!(placement.of("orders.a", None), Destination::Memory);
        assert_eq!(placement.named(partition(0, 3)), ("orders", 3));
        assert_eq!(placement.named(Destination::Memory), ("", 0));
    }
}
