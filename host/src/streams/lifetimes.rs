//! How long messages live, and passing over those whose time is over.

use waypost_core::{Lifetime, Lifetimes, Living, StreamDefinition, TopicRule};
use waypost_protocol::Batch;

use super::Streams;
use crate::time::now_ms;

/// What messages are counted under that no stream and no table has.
const OTHER: &str = "other";

impl Streams {
    /// What holds from now on for topics that no stream keeps.
    pub(crate) fn set_topic_rules(&self, rules: &[TopicRule]) {
        let of_stream = |stream: &StreamDefinition| {
            let (name, ttl) = (stream.name.as_str().to_owned(), stream.ttl);
            let topics = stream.topics.clone().into_iter();
            topics.map(move |topics| Lifetime { topics, name: name.clone(), ttl })
        };
        let of_rule = |rule: &TopicRule| {
            let (topics, name) = (rule.pattern.clone(), rule.pattern.as_str().to_owned());
            Lifetime { topics, name, ttl: rule.ttl }
        };
        let streams = self.0.table.all().iter().flat_map(of_stream);
        let all = streams.chain(rules.iter().map(of_rule)).collect();
        self.0.lifetimes.store(Lifetimes::new(all).into());
    }

    /// Which messages of a batch live that was taken in at a time; `None` when all do. Those that do not are counted:
    /// they are handed to nobody.
    pub(crate) fn living(&self, batch: &Batch, ingest_ms: u64) -> Option<Vec<u32>> {
        let lifetimes = self.0.lifetimes.load();
        let Living::Only(living) = lifetimes.living(batch, ingest_ms, now_ms()) else {
            return None;
        };
        let over =
            (0..).zip(batch.iter()).filter(|(index, _)| living.binary_search(index).is_err());
        for (_, message) in over {
            let name = lifetimes.of(message.topic()).map_or(OTHER, |lifetime| &lifetime.name);
            self.0.metrics.expired.with_label_values(&[name]).inc();
        }
        Some(living)
    }

    /// Whether the time of any is over. It counts nothing.
    pub(crate) fn has_expired(&self, batch: &Batch, ingest_ms: u64) -> bool {
        self.0.lifetimes.load().living(batch, ingest_ms, now_ms()) != Living::All
    }

    /// The messages of a batch that live; `None` when none does.
    pub(crate) fn living_of(&self, batch: Batch, ingest_ms: u64) -> Option<Batch> {
        match self.living(&batch, ingest_ms) {
            None => Some(batch),
            Some(living) => batch.gather(&living),
        }
    }
}
