//! The streams of a configuration, and the storage that keeps them.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use waypost_core::{Fsync, Retention, StreamDefinition, StreamName, StreamTable};
use waypost_protocol::Pattern;

use super::{
    key::Kind,
    reader::Reader,
    routes::DraftRoute,
    scalar::Complaint,
    section::Section,
    sections::{LONGEST_MS, MOST_BYTES},
    topics::{DraftTopic, time_to_live},
};

/// A hundred years: whoever keeps longer sets no bound.
const LONGEST_RETENTION_MS: u64 = 36_525 * LONGEST_MS;
/// Fits the whole numbers of TOML.
const MOST_KEPT: u64 = 1 << 62;
/// What welcome tells of all streams must fit its frame's control part.
const MOST_TOLD_BYTES: usize = 32 << 10;

/// How a stream says what it keeps.
const PATTERNS_HINT: &str = "write patterns in brackets, [\"orders.>\"]";

/// A stream as far as its keys, one by one, are right.
#[derive(Debug)]
pub(super) struct DraftStream {
    /// `stream[0]`.
    pub(super) path: String,
    pub(super) definition: Option<StreamDefinition>,
}

#[derive(Debug)]
pub(super) struct StorageSection {
    pub(super) folder: Option<PathBuf>,
    pub(super) reserve_bytes: u64,
    pub(super) queue_bytes: usize,
    pub(super) tail_bytes: usize,
    pub(super) cache_bytes: u64,
    pub(super) max_producers: usize,
    pub(super) forget_producers_after: Duration,
    pub(super) trim_interval: Duration,
    pub(super) accept_loss: bool,
}

pub(super) fn storage(section: &mut Section<'_, '_>) -> StorageSection {
    StorageSection {
        folder: section.optional_path("folder"),
        reserve_bytes: section.integer("reserve_bytes", 1 << 30, 0..=1 << 50),
        queue_bytes: section.integer("queue_bytes", 64 << 20, 16 << 20..=MOST_BYTES),
        tail_bytes: section.integer("tail_bytes", 64 << 20, 0..=64 << 30),
        cache_bytes: section.integer("cache_bytes", 64 << 20, 1 << 20..=1 << 40),
        max_producers: section.integer("max_producers", 100_000, 1..=10_000_000),
        forget_producers_after: section.milliseconds(
            "forget_producers_after_ms",
            7 * LONGEST_MS,
            60_000..=LONGEST_RETENTION_MS,
        ),
        trim_interval: section.milliseconds("trim_interval_ms", 10_000, 10..=LONGEST_MS),
        accept_loss: section.boolean("accept_loss", false),
    }
}

/// Reads one stream.
pub(super) fn read_stream(section: &mut Section<'_, '_>) -> DraftStream {
    let name = section.required("name", Kind::Name, |text| {
        StreamName::parse(text).map_err(|_| Complaint::new("which is no name"))
    });
    let topics = section.list("topics", Vec::new(), "of patterns", |text| {
        let pattern = Pattern::parse(text);
        match pattern.map_err(|error| Complaint::from_error("not a pattern", &error))? {
            pattern if pattern.is_system() && !text.starts_with("$dead.") => {
                Err(Complaint::new("which belongs to the router")
                    .with_hint("keep $dead.<route>, $dead.>, or topics that do not begin with $"))
            }
            pattern => Ok(pattern),
        }
    });
    if !section.reader.is_set(&section.path_of("topics")) {
        let message = "[[stream]] has no topics";
        section.reader.error(section.place.clone(), message, PATTERNS_HINT);
    } else if section.value("topics").is_some_and(is_empty) {
        let place = section.reader.place(&section.path_of("topics"));
        section.reader.error(place, "stream.topics is empty", PATTERNS_HINT);
    }
    let partitions = section.integer("partitions", 1, 1..=1024);
    let ttl = time_to_live(section);
    let fsync = section.text("fsync", Kind::Fsync, Fsync::Group, |text| {
        Fsync::parse(text).ok_or_else(|| Complaint::new("which is no kind of sync"))
    });
    // What follows the heading of a table belongs to that table, and so it comes last.
    let retention = section.section("retention", retention);
    let definition = name.filter(|_| !topics.is_empty()).map(|name| StreamDefinition {
        name,
        topics,
        partitions: NonZeroU32::new(partitions).unwrap_or(NonZeroU32::MIN),
        retention,
        ttl,
        fsync,
    });
    DraftStream { path: section.path.clone(), definition }
}

fn is_empty(value: &toml::Spanned<toml::de::DeValue<'_>>) -> bool {
    value.get_ref().as_array().is_some_and(|array| array.is_empty())
}

fn retention(section: &mut Section<'_, '_>) -> Retention {
    // Nothing would be left to read at a bound of zero, so that it can say that there is none.
    let mut bound =
        |name, most| Some(section.integer(name, 0, 0..=most)).filter(|bound| *bound > 0);
    Retention {
        max_age_ms: bound("max_age_ms", LONGEST_RETENTION_MS),
        max_bytes: bound("max_bytes", MOST_KEPT),
        max_messages: bound("max_messages", MOST_KEPT),
    }
}

/// Refuses streams that stand in each other's way, and rules for topics that streams keep.
pub(super) fn check_streams(
    drafts: &[DraftStream],
    topics: &[DraftTopic],
    reader: &mut Reader<'_>,
) {
    let whole = drafts.iter().filter_map(|draft| Some((&*draft.path, draft.definition.as_ref()?)));
    let streams: Vec<(&str, &StreamDefinition)> = whole.collect();
    for (index, (path, stream)) in streams.iter().enumerate() {
        for (other_path, other) in streams.iter().take(index) {
            if other.name == stream.name {
                let place = reader.place(&format!("{path}.name"));
                let message = format!("two streams are named {}", stream.name);
                reader.error(place, message, "give each stream its own name");
            }
            if let Some((one, before)) = overlap(&stream.topics, &other.topics) {
                let place = reader.place(&format!("{path}.topics"));
                let first = reader.place(&format!("{other_path}.topics"));
                let message = format!(
                    "{one} of the stream {} and {before} of the stream {} at {first} match the same topics",
                    stream.name, other.name
                );
                reader.error(place, message, "let each topic belong to one stream");
            }
        }
    }
    for topic in topics {
        let Some(rule) = &topic.rule else { continue };
        let pattern = std::slice::from_ref(&rule.pattern);
        let kept = streams.iter().find_map(|(path, stream)| {
            overlap(pattern, &stream.topics).map(|(_, kept)| (path, &stream.name, kept))
        });
        if let Some((path, name, kept)) = kept {
            let place = reader.place(&format!("{}.pattern", topic.path));
            let stream = reader.place(&format!("{path}.topics"));
            let message = format!(
                "{} matches topics of {kept}, which the stream {name} at {stream} keeps: they are never dropped",
                rule.pattern
            );
            reader.error(place, message, "narrow the pattern to topics that no stream keeps");
        }
    }
    let texts = streams.iter().flat_map(|(_, stream)| &stream.topics).map(Pattern::as_str);
    let names = streams.iter().map(|(_, stream)| stream.name.as_str());
    let told: usize = texts.chain(names).map(|text| text.len() + 16).sum();
    if told > MOST_TOLD_BYTES {
        let place = reader.whole_file();
        let message = format!(
            "the names and patterns of all streams take {told} bytes, and clients are told {MOST_TOLD_BYTES}"
        );
        reader.error(place, message, "have fewer streams, or wider patterns");
    }
}

/// Refuses routes that read streams and whose dead letters no stream keeps.
pub(super) fn check_dead_letters(
    drafts: &[DraftStream],
    routes: &[DraftRoute],
    reader: &mut Reader<'_>,
) {
    let streams = drafts.iter().filter_map(|draft| draft.definition.clone());
    let streams = StreamTable::new(streams.collect());
    for route in routes {
        let Some(definition) = &route.definition else {
            continue;
        };
        let Some(read) = streams.read_without_letters(definition) else {
            continue;
        };
        let (name, letters) = (&definition.name, definition.name.dead_letter_topic());
        let place = reader.place(&format!("{}.from", route.path));
        let message = format!(
            "the route {name} reads the stream {}, and no stream keeps its dead letters, {letters}",
            read.name
        );
        let stream = if streams.named("dead").is_some() { "dead-letters" } else { "dead" };
        let hint = format!(
            "add [[stream]] with name = \"{stream}\" and topics = [\"$dead.>\"] to the file"
        );
        reader.error(place, message, hint);
    }
}

/// The first patterns of two lists that match the same topics.
fn overlap<'a>(ours: &'a [Pattern], theirs: &'a [Pattern]) -> Option<(&'a Pattern, &'a Pattern)> {
    let pairs = ours.iter().flat_map(|one| theirs.iter().map(move |other| (one, other)));
    pairs.into_iter().find(|(one, other)| one.overlaps(other))
}
