//! Which stream a topic belongs to, and whether a batch belongs where its publisher puts it.

use std::{fmt, num::NonZeroU32};

use waypost_protocol::{Batch, MessageView, Pattern, TimeToLive, partition_of};

use crate::{PartitionIndex, Retention, RouteDefinition, RouteTable, StreamName};

/// When what is stored of a stream is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before it is acknowledged; one sync carries what arrived during the last.
    #[default]
    Group,
    /// Some time later. It is unsafe: the loss of power takes what was acknowledged.
    None,
}

impl Fsync {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 2] = [Self::Group, Self::None];

    /// Its name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::None => "none",
        }
    }

    /// What has this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A stream as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDefinition {
    /// Its name.
    pub name: StreamName,
    /// The topics that it keeps; no other stream has any of them.
    pub topics: Vec<Pattern>,
    /// How many partitions it has.
    pub partitions: NonZeroU32,
    /// What each of them keeps.
    pub retention: Retention,
    /// How long messages live that do not say so themselves.
    pub ttl: Option<TimeToLive>,
    /// When what is stored is synced.
    pub fsync: Fsync,
}

/// Which stream of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(usize);

/// The streams of a router.
#[derive(Debug, Default)]
pub struct StreamTable {
    definitions: Vec<StreamDefinition>,
    table: RouteTable<StreamId>,
}

/// Why a batch does not belong where its publisher puts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// There is no such stream.
    #[error("there is no stream {0:?}; publish to those that welcome named")]
    Stream(String),
    /// The stream has fewer partitions.
    #[error("the stream {stream} has {partitions} partitions, and no {partition}")]
    Partition {
        /// The stream.
        stream: StreamName,
        /// What the publisher named, counted from zero.
        partition: u32,
        /// How many there are.
        partitions: NonZeroU32,
    },
    /// A topic is not the stream's.
    #[error("the topic {topic} is none of the stream {stream}; publish it apart")]
    Topic {
        /// The first such topic.
        topic: String,
        /// The stream that the publisher named.
        stream: StreamName,
    },
    /// A topic is a stream's, and the publisher named none.
    #[error(
        "the topic {topic} belongs to the stream {stream}; name it and the partition of the key"
    )]
    NoStream {
        /// The first such topic.
        topic: String,
        /// Its stream.
        stream: StreamName,
    },
    /// A key belongs to another partition.
    #[error("a key belongs to partition {belongs} of {stream}, and was sent to {partition}")]
    Key {
        /// The stream.
        stream: StreamName,
        /// What the publisher named.
        partition: u32,
        /// Where the first such key belongs.
        belongs: u32,
    },
}

impl StreamDefinition {
    /// Whether a topic is one of its own.
    #[must_use]
    pub fn keeps(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| pattern.matches(topic))
    }

    /// Its partitions, from the first.
    pub fn partition_indices(&self) -> impl Iterator<Item = PartitionIndex> + use<> {
        (0..self.partitions.get()).map(PartitionIndex)
    }
}

impl StreamTable {
    /// A table of streams whose patterns do not overlap.
    #[must_use]
    pub fn new(definitions: Vec<StreamDefinition>) -> Self {
        let mut table = RouteTable::new();
        for (index, definition) in definitions.iter().enumerate() {
            for pattern in &definition.topics {
                table.insert(pattern, StreamId(index));
            }
        }
        Self { definitions, table }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
    }

    /// The streams, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> &[StreamDefinition] {
        &self.definitions
    }

    /// The stream of a topic.
    #[must_use]
    pub fn of(&self, topic: &str) -> Option<&StreamDefinition> {
        let mut found = None;
        self.table.for_each_match(topic, |_, id| found = Some(*id));
        found.and_then(|StreamId(index)| self.definitions.get(index))
    }

    /// The stream of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&StreamDefinition> {
        self.definitions.iter().find(|definition| definition.name.as_str() == name)
    }

    /// The streams that keep some topic of a pattern.
    pub fn overlapping<'s, 'p>(
        &'s self,
        pattern: &'p Pattern,
    ) -> impl Iterator<Item = &'s StreamDefinition> + use<'s, 'p> {
        let takes =
            |stream: &&StreamDefinition| stream.topics.iter().any(|each| each.overlaps(pattern));
        self.definitions.iter().filter(takes)
    }

    /// The first stream that a route reads, if no stream keeps its dead letters: they would not outlive the router,
    /// while the route's progress moves past them.
    #[must_use]
    pub fn read_without_letters(&self, route: &RouteDefinition) -> Option<&StreamDefinition> {
        let read = self.overlapping(&route.source).next()?;
        self.of(&route.name.dead_letter_topic()).is_none().then_some(read)
    }

    /// Whether a batch for memory topics has no topic of a stream.
    ///
    /// # Errors
    ///
    /// It has one.
    pub fn check_memory(&self, batch: &Batch) -> Result<(), Misplaced> {
        if self.is_empty() {
            return Ok(());
        }
        let of = |topic: &str| {
            let stream = self.of(topic)?.name.clone();
            Some(Misplaced::NoStream { topic: topic.to_owned(), stream })
        };
        let found = match batch.single_topic() {
            Some(topic) => of(topic),
            None => batch.iter().find_map(|message| of(message.topic())),
        };
        found.map_or(Ok(()), Err)
    }

    /// The stream that a batch is appended to: all its topics are the stream's, and all its keys the partition's.
    ///
    /// # Errors
    ///
    /// It does not belong there.
    pub fn check_stream(
        &self,
        stream: &str,
        partition: u32,
        batch: &Batch,
    ) -> Result<&StreamDefinition, Misplaced> {
        let Some(definition) = self.named(stream) else {
            return Err(Misplaced::Stream(stream.chars().take(64).collect()));
        };
        let (stream, partitions) = (definition.name.clone(), definition.partitions);
        if partition >= partitions.get() {
            return Err(Misplaced::Partition { stream, partition, partitions });
        }
        let single = batch.single_topic();
        let foreign = match single {
            Some(topic) => Some(topic).filter(|topic| !definition.keeps(topic)),
            None => batch.iter().map(|message| message.topic()).find(|t| !definition.keeps(t)),
        };
        if let Some(topic) = foreign {
            return Err(Misplaced::Topic { topic: topic.to_owned(), stream });
        }
        let belongs = |message: MessageView<'_>| {
            let belongs = partition_of(message.key()?, partitions);
            (belongs != partition).then_some(belongs)
        };
        if partitions.get() > 1
            && let Some(belongs) = batch.iter().find_map(belongs)
        {
            return Err(Misplaced::Key { stream, partition, belongs });
        }
        Ok(definition)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use waypost_protocol::BatchBuilder;

    use super::*;
    use crate::{BatchPolicy, BreakerPolicy, Destination, RetryPolicy, RouteName, RouteStart};

    fn table() -> StreamTable {
        let stream = |name, topics: &[&str], partitions| StreamDefinition {
            name: StreamName::parse(name).expect("a name"),
            topics: topics.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect(),
            partitions: NonZeroU32::new(partitions).expect("it is not zero"),
            retention: Retention::default(),
            ttl: None,
            fsync: Fsync::default(),
        };
        StreamTable::new(vec![
            stream("orders", &["orders.>", "refunds"], 4),
            stream("audit", &["audit.*"], 1),
        ])
    }

    fn batch(messages: &[(&str, Option<&[u8]>)]) -> Batch {
        let mut builder = BatchBuilder::new();
        for (topic, key) in messages {
            builder.push(topic, *key, &[], b"", 0).expect("it fits");
        }
        builder.finish().expect("there are messages")
    }

    /// A key of the first or of another partition of four.
    fn key(first: bool) -> Vec<u8> {
        let four = NonZeroU32::new(4).expect("four is not zero");
        let mut keys = (0..100_u8).map(|byte| vec![byte]);
        keys.find(|key| (partition_of(key, four) == 0) == first).expect("keys spread")
    }

    #[test]
    fn a_topic_has_the_stream_whose_pattern_matches() {
        let table = table();
        let of = |topic| table.of(topic).map(|stream| stream.name.as_str());
        assert_eq!(of("orders.eu"), Some("orders"));
        assert_eq!(of("refunds"), Some("orders"));
        assert_eq!(of("audit.logins"), Some("audit"));
        assert_eq!(of("orders"), None);
    }

    #[test]
    fn a_route_that_reads_a_stream_without_its_letters_being_kept_is_found() {
        let route = |name, source| RouteDefinition {
            name: RouteName::parse(name).expect("a name"),
            source: Pattern::parse(source).expect("a pattern"),
            start: RouteStart::End,
            stages: Vec::new(),
            destination: Destination::FromPlugin,
            lanes: NonZeroU16::MIN,
            batch: BatchPolicy::default(),
            breaker: BreakerPolicy::default(),
            retry: RetryPolicy::default(),
        };
        let mut definitions = table().all().to_vec();
        let letters = StreamDefinition {
            name: StreamName::parse("dead").expect("a name"),
            topics: vec![Pattern::parse("$dead.kept").expect("a pattern")],
            ..definitions[1].clone()
        };
        definitions.push(letters);
        let table = StreamTable::new(definitions);
        let read = |name, source| {
            let found = table.read_without_letters(&route(name, source));
            found.map(|stream| stream.name.as_str())
        };
        assert_eq!(read("lost", "*.eu"), Some("orders"));
        assert_eq!(read("lost", "audit.logins"), Some("audit"));
        assert_eq!(read("lost", "memory"), None);
        assert_eq!(read("kept", ">"), None);
    }

    #[test]
    fn a_batch_without_a_stream_has_no_topic_of_one() {
        let table = table();
        assert_eq!(table.check_memory(&batch(&[("a", None), ("b", None)])), Ok(()));
        for messages in [&[("orders.eu", None)][..], &[("a", None), ("refunds", None)]] {
            let refused = table.check_memory(&batch(messages));
            assert!(matches!(refused, Err(Misplaced::NoStream { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_batch_belongs_to_its_stream_and_its_keys_to_the_partition() {
        let (table, own, other) = (table(), key(true), key(false));
        let check = |stream, partition, messages: &[(&str, Option<&[u8]>)]| {
            table.check_stream(stream, partition, &batch(messages)).map(|found| found.name.as_str())
        };
        let good = [("orders.eu", Some(&*own)), ("refunds", None)];
        assert_eq!(check("orders", 0, &good), Ok("orders"));
        assert_eq!(check("orders", 3, &[("refunds", None)]), Ok("orders"));
        assert_eq!(check("audit", 0, &[("audit.a", Some(&*other))]), Ok("audit"));
        assert!(matches!(check("none", 0, &good), Err(Misplaced::Stream(_))));
        assert!(matches!(check("orders", 4, &good), Err(Misplaced::Partition { .. })));
        let foreign = [("orders.eu", None), ("audit.a", None)];
        assert!(matches!(check("orders", 0, &foreign), Err(Misplaced::Topic { .. })));
        let misplaced = [("orders.eu", Some(&*own)), ("orders.eu", Some(&*other))];
        assert!(matches!(check("orders", 0, &misplaced), Err(Misplaced::Key { .. })));
    }
}
