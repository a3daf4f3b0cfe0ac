//! Which messages of a batch still live: how long each may says its publisher, or else what holds for its topic.
//!
//! The time counts from the ingest time of the envelope. Batches in which no message says anything, on topics
//! without a default, cost one look through the column of headers. Dead letters live for ever: they keep the
//! headers of what they were made of.

use memchr::memmem;
use waypost_protocol::{Batch, MessageView, Pattern, TTL, TimeToLive};

use crate::RouteTable;

/// How the topics of dead letters begin.
const LETTERS: &str = "$dead.";

/// How long messages of some topics live that do not say so themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime {
    /// Which topics.
    pub topics: Pattern,
    /// What they are counted under: their stream, or the pattern of their rule.
    pub name: String,
    /// How long; for ever without it.
    pub ttl: Option<TimeToLive>,
}

/// Lifetimes in their order: the first whose topics match holds.
#[derive(Debug, Clone, Default)]
pub struct Lifetimes {
    all: Vec<Lifetime>,
    table: RouteTable<usize>,
    has_ttl: bool,
}

/// Which messages of a batch live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Living {
    /// All.
    All,
    /// These, in order; perhaps none.
    Only(Vec<u32>),
}

/// The first message of a batch whose publisher says something else than a time to live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message {index}: {TTL} is {value:?}; {error}", error = waypost_protocol::BadTtl)]
pub struct BadLifetime {
    /// Which message, counted from zero.
    pub index: usize,
    /// What it says, cut.
    pub value: String,
}

impl Lifetimes {
    /// Lifetimes in this order.
    #[must_use]
    pub fn new(all: Vec<Lifetime>) -> Self {
        let mut table = RouteTable::new();
        for (place, lifetime) in all.iter().enumerate() {
            table.insert(&lifetime.topics, place);
        }
        let has_ttl = all.iter().any(|lifetime| lifetime.ttl.is_some());
        Self { all, table, has_ttl }
    }

    /// What holds for a topic.
    #[must_use]
    pub fn of(&self, topic: &str) -> Option<&Lifetime> {
        let mut first = None;
        self.table.for_each_match(topic, |_, &place| {
            first = Some(first.map_or(place, |known: usize| known.min(place)));
        });
        self.all.get(first?)
    }

    /// Which messages of a batch live that was taken in at a time.
    #[must_use]
    pub fn living(&self, batch: &Batch, ingest_ms: u64, now_ms: u64) -> Living {
        let age_ms = now_ms.saturating_sub(ingest_ms);
        if age_ms == 0 {
            return Living::All;
        }
        let says = may_say(batch);
        if !(says || self.has_ttl) {
            return Living::All;
        }
        if let (false, Some(topic)) = (says, batch.single_topic()) {
            let is_over = is_over(age_ms, self.default_of(topic));
            return if is_over { Living::Only(Vec::new()) } else { Living::All };
        }
        let lives = |message: &MessageView<'_>| {
            // What a plugin wrote there was not checked, and says nothing if it is none.
            let own = TimeToLive::of(message.headers()).ok().flatten();
            let topic = message.topic();
            topic.starts_with(LETTERS) || !is_over(age_ms, own.or_else(|| self.default_of(topic)))
        };
        let living = (0..).zip(batch.iter()).filter(|(_, message)| lives(message));
        let living: Vec<u32> = living.map(|(index, _)| index).collect();
        if living.len() == batch.len() { Living::All } else { Living::Only(living) }
    }

    fn default_of(&self, topic: &str) -> Option<TimeToLive> {
        if !self.has_ttl || topic.starts_with(LETTERS) {
            return None;
        }
        self.of(topic).and_then(|lifetime| lifetime.ttl)
    }
}

/// Whether what publishers say of how long messages live can be followed.
///
/// # Errors
///
/// The first that cannot.
pub fn check_lifetimes(batch: &Batch) -> Result<(), BadLifetime> {
    if !may_say(batch) {
        return Ok(());
    }
    let bad = batch.iter().enumerate().find_map(|(index, message)| {
        TimeToLive::of(message.headers()).err()?;
        let value = message.headers().get(TTL).unwrap_or_default();
        let value = String::from_utf8_lossy(value).chars().take(32).collect();
        Some(BadLifetime { index, value })
    });
    bad.map_or(Ok(()), Err)
}

/// Whether some message may say how long it lives: its name stands somewhere among the headers.
fn may_say(batch: &Batch) -> bool {
    memmem::find(batch.headers().bytes(), TTL.as_bytes()).is_some()
}

fn is_over(age_ms: u64, ttl: Option<TimeToLive>) -> bool {
    ttl.is_some_and(|ttl| age_ms >= ttl.ms())
}

#[cfg(test)]
mod tests {
    use waypost_protocol::{BatchBuilder, HeadersBuilder};

    use super::*;

    /// A batch of messages, by topic and what each says.
    fn batch(messages: &[(&str, Option<&str>)]) -> Batch {
        let mut builder = BatchBuilder::new();
        for (topic, says) in messages {
            let mut headers = HeadersBuilder::new();
            headers.push("a", b"1").expect("a header");
            if let Some(says) = says {
                headers.push(TTL, says.as_bytes()).expect("a header");
            }
            builder.push(topic, None, headers.as_bytes(), b"", 0).expect("it fits");
        }
        builder.finish().expect("there are messages")
    }

    fn lifetimes(all: &[(&str, Option<u64>)]) -> Lifetimes {
        let of = |(pattern, ms): &(&str, Option<u64>)| Lifetime {
            topics: Pattern::parse(pattern).expect("a pattern"),
            name: (*pattern).to_owned(),
            ttl: ms.map(|ms| TimeToLive::from_ms(ms).expect("a time to live")),
        };
        Lifetimes::new(all.iter().map(of).collect())
    }

    /// Which messages live that were taken in at 1000; `None` when all do.
    fn living(
        lifetimes: &Lifetimes,
        messages: &[(&str, Option<&str>)],
        now_ms: u64,
    ) -> Option<Vec<u32>> {
        match lifetimes.living(&batch(messages), 1000, now_ms) {
            Living::All => None,
            Living::Only(indices) => Some(indices),
        }
    }

    #[test]
    fn a_message_lives_as_long_as_it_says_and_not_a_millisecond_longer() {
        let none = Lifetimes::default();
        let messages = [("a", Some("30")), ("a", None), ("a", Some("31"))];
        assert_eq!(living(&none, &messages, 1029), None);
        assert_eq!(living(&none, &messages, 1030), Some(vec![1, 2]));
        assert_eq!(living(&none, &messages, 1031), Some(vec![1]));
        assert_eq!(living(&none, &[("a", Some("30"))], 1030), Some(vec![]));
        assert_eq!(living(&none, &[("a", None)], u64::MAX), None);
    }

    #[test]
    fn a_clock_that_went_back_ends_nothing() {
        assert_eq!(living(&Lifetimes::default(), &[("a", Some("1"))], 0), None);
        assert_eq!(living(&lifetimes(&[("a", Some(1))]), &[("a", None)], 999), None);
    }

    #[test]
    fn what_says_nothing_lives_as_long_as_its_topic_says() {
        let lifetimes = lifetimes(&[("a.b", None), ("a.*", Some(20)), ("c", Some(50))]);
        let messages =
            [("a.b", None), ("a.c", None), ("a.d", Some("90")), ("c", None), ("d", None)];
        assert_eq!(living(&lifetimes, &messages, 1019), None);
        assert_eq!(living(&lifetimes, &messages, 1020), Some(vec![0, 2, 3, 4]));
        assert_eq!(living(&lifetimes, &messages, 1090), Some(vec![0, 4]));
        assert_eq!(living(&lifetimes, &[("a.c", None); 3], 1020), Some(vec![]));
        assert_eq!(living(&lifetimes, &[("a.b", None); 3], 1020), None);
        assert_eq!(lifetimes.of("a.c").map(|found| &*found.name), Some("a.*"));
        assert_eq!(lifetimes.of("d"), None);
    }

    #[test]
    fn dead_letters_live_for_ever() {
        let lifetimes = lifetimes(&[("$dead.>", Some(5))]);
        let messages = [("$dead.r", Some("1")), ("$dead.r", None)];
        assert_eq!(living(&lifetimes, &messages, 99_999), None);
        assert_eq!(living(&lifetimes, &messages[1..], 99_999), None);
        assert_eq!(living(&lifetimes, &[("$deadline", Some("1"))], 99_999), Some(vec![]));
    }

    #[test]
    fn what_a_publisher_says_wrong_is_found_and_what_a_plugin_wrote_ends_nothing() {
        let bad = check_lifetimes(&batch(&[("a", None), ("a", Some("5")), ("a", Some("soon"))]));
        let bad = bad.expect_err("the last is no number");
        assert_eq!((bad.index, &*bad.value), (2, "soon"));
        assert!(bad.to_string().contains("milliseconds from 1 to 3155760000000"), "{bad}");
        assert_eq!(check_lifetimes(&batch(&[("a", Some("5")), ("b", None)])), Ok(()));
        assert_eq!(living(&Lifetimes::default(), &[("a", Some("soon"))], u64::MAX), None);
        let longest = batch(&[("a", Some(&"9".repeat(5000)))]);
        let told = check_lifetimes(&longest).expect_err("it is too large").value;
        assert_eq!(told.len(), 32);
    }

    #[test]
    fn the_name_in_a_value_says_nothing() {
        let mut headers = HeadersBuilder::new();
        headers.push("note", b"wp-ttl").expect("a header");
        let mut builder = BatchBuilder::new();
        builder.push("a", None, headers.as_bytes(), b"", 0).expect("it fits");
        let batch = builder.finish().expect("a message");
        assert_eq!(Lifetimes::default().living(&batch, 0, u64::MAX), Living::All);
        assert_eq!(check_lifetimes(&batch), Ok(()));
    }
}
