//! Dead letters: a message that the router gave up on, kept whole, with the reason.

use waypost_protocol::{
    Batch, BatchBuilder, BatchError, ErrorCode, HeaderError, HeadersBuilder, Limits, MessageView,
    Offset, Topic, dead_letter as header,
};

use crate::{GroupName, Partition, RouteName, StageName};

/// Why a message is a dead letter, and where that was found.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The reason.
    pub code: ErrorCode,
    /// The reason in words.
    pub error: String,
    /// The stage, unless the route failed after its last one.
    pub stage: Option<StageName>,
    /// SHA-256 of the stage's artefact in hexadecimal.
    pub plugin_digest: Option<String>,
    /// How often the message was tried, at least once.
    pub attempts: u32,
    /// When it failed first, in milliseconds since the Unix epoch.
    pub first_failure_ms: u64,
    /// When it failed last.
    pub last_failure_ms: u64,
}

/// The limits of a batch of dead letters: a message that is itself at its limits has room for what is added.
#[must_use]
pub fn letter_limits(limits: Limits) -> Limits {
    let added = u32::try_from(header::MAX_ERROR_BYTES).unwrap_or(u32::MAX).saturating_add(4096);
    Limits {
        max_headers: limits.max_headers.saturating_add(header::EXTRA_HEADERS),
        max_message_bytes: limits.max_message_bytes.saturating_add(added),
        ..limits
    }
}

/// What keeps a message from becoming a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// One of the headers that say why does not encode.
    #[error("a dead letter's header does not encode: {0}")]
    Header(#[from] HeaderError),
    /// The batch of dead letters is full, or the letter is too large.
    #[error("a dead letter does not fit its batch: {0}")]
    Batch(#[from] BatchError),
}

/// Collects the dead letters of one route or group into batches.
#[derive(Debug)]
pub struct DeadLetters {
    /// The header that names who gave up, and the name.
    giver: (&'static str, String),
    topic: String,
    builder: BatchBuilder,
    full: Vec<Batch>,
}

impl DeadLetters {
    /// No dead letters of this route yet. Messages within these limits become [letters](letter_limits).
    #[must_use]
    pub fn new(route: RouteName, limits: Limits) -> Self {
        let topic = route.dead_letter_topic();
        Self::of((header::ROUTE, route.to_string()), topic, limits)
    }

    /// No dead letters of this group yet, which go to this topic.
    #[must_use]
    pub fn of_group(group: &GroupName, topic: &Topic, limits: Limits) -> Self {
        Self::of((header::GROUP, group.to_string()), topic.to_string(), limits)
    }

    fn of(giver: (&'static str, String), topic: String, limits: Limits) -> Self {
        let builder = BatchBuilder::with_limits(letter_limits(limits));
        Self { giver, topic, builder, full: Vec::new() }
    }

    /// Adds a message as it was when it failed. Where it was a dead letter before and cannot hold what is
    /// said of both failures, what was said of the one before goes.
    ///
    /// # Errors
    ///
    /// A letter that no batch could hold.
    pub fn push(
        &mut self,
        message: MessageView<'_>,
        failure: &Failure,
    ) -> Result<(), DeadLetterError> {
        self.push_from(message, failure, None)
    }

    /// As [`push`](Self::push), for a message that stands at this place.
    ///
    /// # Errors
    ///
    /// A letter that no batch could hold.
    pub fn push_from(
        &mut self,
        message: MessageView<'_>,
        failure: &Failure,
        place: Option<(&Partition, Offset)>,
    ) -> Result<(), DeadLetterError> {
        let is_older = |name: &str| name.starts_with(header::PREFIX);
        let mut headers = self.headers(failure, message, place)?;
        if message.headers().iter().next().is_some_and(|(name, _)| is_older(name)) {
            headers.push(header::OWN, b"")?;
        }
        let whole = headers.extend(message.headers());
        let error = match self.append_or_begin(message, whole) {
            Err(
                error @ (BatchError::TooManyHeaders { .. } | BatchError::MessageTooLarge { .. }),
            ) => error,
            other => return Ok(other?),
        };
        let mut headers = self.headers(failure, message, place)?;
        if !message.headers().iter().any(|(name, _)| is_older(name)) {
            return Err(error.into());
        }
        for (name, value) in message.headers().iter().filter(|(name, _)| !is_older(name)) {
            headers.push(name, value)?;
        }
        Ok(self.append_or_begin(message, &headers)?)
    }

    /// The batches so far; the collector is empty afterwards.
    pub fn finish(&mut self) -> Vec<Batch> {
        self.full.extend(self.builder.finish());
        std::mem::take(&mut self.full)
    }

    fn append_or_begin(
        &mut self,
        message: MessageView<'_>,
        headers: &HeadersBuilder,
    ) -> Result<(), BatchError> {
        if self.append(message, headers).is_ok() {
            return Ok(());
        }
        // The batch may be full: a letter that does not fit an empty one either is the error.
        self.full.extend(self.builder.finish());
        self.append(message, headers)
    }

    fn append(
        &mut self,
        message: MessageView<'_>,
        headers: &HeadersBuilder,
    ) -> Result<(), BatchError> {
        let (key, payload) = (message.key(), message.payload());
        self.builder.push(&self.topic, key, headers.as_bytes(), payload, message.created_ms())
    }

    /// What stands before the message's own, so that whoever looks for the first of a name finds what the
    /// router says and not what a publisher made up.
    fn headers(
        &self,
        failure: &Failure,
        message: MessageView<'_>,
        place: Option<(&Partition, Offset)>,
    ) -> Result<HeadersBuilder, HeaderError> {
        let mut headers = HeadersBuilder::new();
        let error = cut(&failure.error, header::MAX_ERROR_BYTES);
        headers
            .push(header::REASON, failure.code.name().as_bytes())?
            .push(header::ERROR, error.as_bytes())?
            .push(header::TOPIC, message.topic().as_bytes())?
            .push(header::CREATED, message.created_ms().to_string().as_bytes())?
            .push(header::ATTEMPTS, failure.attempts.to_string().as_bytes())?
            .push(header::FIRST_FAILURE, failure.first_failure_ms.to_string().as_bytes())?
            .push(header::LAST_FAILURE, failure.last_failure_ms.to_string().as_bytes())?
            .push(self.giver.0, self.giver.1.as_bytes())?;
        if let Some((partition, offset)) = place {
            headers
                .push(header::STREAM, partition.stream.as_str().as_bytes())?
                .push(header::PARTITION, partition.index.to_string().as_bytes())?
                .push(header::OFFSET, offset.to_string().as_bytes())?;
        }
        if let Some(stage) = &failure.stage {
            headers.push(header::STAGE, stage.as_str().as_bytes())?;
        }
        if let Some(digest) = &failure.plugin_digest {
            headers.push(header::PLUGIN, digest.as_bytes())?;
        }
        Ok(headers)
    }
}

/// The longest start of a text that has at most this many bytes and splits no character.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: &str) -> Failure {
        Failure {
            code: ErrorCode::PluginTrap,
            error: error.to_owned(),
            stage: Some(StageName::parse("keep").expect("a name")),
            plugin_digest: Some("ab".repeat(32)),
            attempts: 1,
            first_failure_ms: 5,
            last_failure_ms: 6,
        }
    }

    fn letters() -> DeadLetters {
        DeadLetters::new(RouteName::parse("quakes").expect("a name"), Limits::default())
    }

    #[test]
    fn a_letter_keeps_the_message_byte_for_byte_and_says_why() {
        let mut headers = HeadersBuilder::new();
        headers.push("x", b"\xff").expect("a header").push("x", b"2").expect("a header");
        headers.push(header::REASON, b"made up").expect("a header");
        let mut builder = BatchBuilder::new();
        builder.push("a.b", Some(b""), headers.as_bytes(), b"\0raw", 4).expect("it fits");
        let batch = builder.finish().expect("one message");
        let mut letters = letters();
        let original = batch.get(0).expect("one message");
        letters.push(original, &failure("unreachable")).expect("it fits");

        let letters = letters.finish();
        let letter = letters[0].get(0).expect("one letter");
        assert_eq!((letter.topic(), letter.key()), ("$dead.quakes", Some(&b""[..])));
        assert_eq!((letter.payload(), letter.created_ms()), (&b"\0raw"[..], 4));
        assert!(letter.headers().as_bytes().ends_with(headers.as_bytes()));
        for (name, expected) in [
            (header::REASON, "PLUGIN_TRAP"),
            (header::ERROR, "unreachable"),
            (header::TOPIC, "a.b"),
            (header::CREATED, "4"),
            (header::ATTEMPTS, "1"),
            (header::FIRST_FAILURE, "5"),
            (header::LAST_FAILURE, "6"),
            (header::ROUTE, "quakes"),
            (header::STAGE, "keep"),
        ] {
            assert_eq!(letter.headers().get(name), Some(expected.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_letter_of_a_group_names_it_and_where_the_message_stands() {
        let mut builder = BatchBuilder::new();
        builder.push("jobs.mail", Some(b"k"), &[], b"raw", 4).expect("it fits");
        let batch = builder.finish().expect("one message");
        let group = GroupName::parse("mailers").expect("a name");
        let topic = Topic::parse("dead.mailers").expect("a topic");
        let stream = crate::StreamName::parse("jobs").expect("a name");
        let partition = Partition::new(stream, 3);
        let mut letters = DeadLetters::of_group(&group, &topic, Limits::default());
        let original = batch.get(0).expect("one message");
        let place = Some((&partition, Offset(77)));
        let failure = Failure { stage: None, plugin_digest: None, ..failure("no such address") };
        letters.push_from(original, &failure, place).expect("it fits");
        let letters = letters.finish();
        let letter = letters[0].get(0).expect("one letter");
        assert_eq!((letter.topic(), letter.key()), ("dead.mailers", Some(&b"k"[..])));
        for (name, expected) in [
            (header::GROUP, Some("mailers")),
            (header::ROUTE, None),
            (header::STREAM, Some("jobs")),
            (header::PARTITION, Some("3")),
            (header::OFFSET, Some("77")),
            (header::TOPIC, Some("jobs.mail")),
        ] {
            assert_eq!(letter.headers().get(name), expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(cut("aéé", 2), "a");
        assert_eq!(cut("aéé", 9), "aéé");
    }

    #[test]
    fn a_message_at_its_limits_still_becomes_a_letter() {
        let limits = Limits::default();
        let mut headers = HeadersBuilder::new();
        for _ in 0..limits.max_headers {
            headers.push("h", b"").expect("a header");
        }
        let payload = vec![0; limits.max_message_bytes as usize - headers.as_bytes().len() - 1];
        let mut builder = BatchBuilder::new();
        let mut letters = letters();
        builder.push("a", None, headers.as_bytes(), &payload, 0).expect("it is just within");
        let batch = builder.finish().expect("one message");
        for _ in 0..10 {
            let message = batch.get(0).expect("one message");
            letters.push(message, &failure(&"é".repeat(9000))).expect("it fits");
        }
        let count: usize = letters.finish().iter().map(Batch::len).sum();
        assert_eq!(count, 10, "more than one batch holds them, and none is lost");
    }
    #[test]
    fn a_letter_that_fails_over_and_over_is_kept_and_says_why_it_failed_last() {
        let mut headers = HeadersBuilder::new();
        for _ in 0..Limits::default().max_headers {
            headers.push("h", b"").expect("a header");
        }
        let mut builder = BatchBuilder::new();
        builder.push("a", None, headers.as_bytes(), b"raw", 0).expect("it is just within");
        let mut batch = builder.finish().expect("one message");
        for time in 0..20 {
            let mut letters = letters();
            let failure = Failure { last_failure_ms: time, ..failure(&"é".repeat(9000)) };
            letters.push(batch.get(0).expect("one message"), &failure).expect("it fits");
            batch = letters.finish().swap_remove(0);
            let letter = batch.get(0).expect("one letter");
            assert!(letter.headers().as_bytes().ends_with(headers.as_bytes()));
            let last = letter.headers().get(header::LAST_FAILURE);
            assert_eq!(last, Some(time.to_string().as_bytes()));
        }
    }
}
