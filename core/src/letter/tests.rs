//! Letters as they are written, read again.

use std::collections::BTreeSet;

use proptest::prelude::*;
use waypost_protocol::{ErrorCode, HeadersBuilder, Topic};

use super::*;
use crate::{DeadLetters, Failure, GroupName, RouteName, StageName};

fn failure(stage: Option<&str>) -> Failure {
    Failure {
        code: ErrorCode::PluginTrap,
        error: "unreachable".to_owned(),
        stage: stage.map(|name| StageName::parse(name).expect("a name")),
        plugin_digest: stage.map(|_| "ab".repeat(32)),
        attempts: 3,
        first_failure_ms: 5,
        last_failure_ms: 6,
    }
}

/// A message whose headers look like those of a letter.
fn message() -> Batch {
    let mut headers = HeadersBuilder::new();
    headers.push(header::REASON, b"made up").expect("a header");
    headers.push("x", b"\xff").expect("a header");
    let mut builder = BatchBuilder::new();
    builder.push("a.b", Some(b""), headers.as_bytes(), b"\0raw", 4).expect("it fits");
    builder.finish().expect("one message")
}

fn source() -> (Partition, Offset) {
    (Partition::new(StreamName::parse("jobs").expect("a name"), 3), Offset(77))
}

fn letter_of(letters: DeadLetters, message: &Batch, failure: &Failure) -> Batch {
    let mut letters = letters;
    let (partition, offset) = source();
    let original = message.get(0).expect("one message");
    letters.push_from(original, failure, Some((&partition, offset))).expect("it fits");
    letters.finish().remove(0)
}

fn of_route(name: &str) -> DeadLetters {
    DeadLetters::new(RouteName::parse(name).expect("a name"), Limits::default())
}

#[test]
fn a_letter_is_read_as_it_was_written_and_gives_the_message_back() {
    let message = message();
    let written = letter_of(of_route("quakes"), &message, &failure(Some("keep")));
    let letter = Letter::read(written.get(0).expect("one letter")).expect("it is one");
    assert_eq!((letter.reason, letter.error, letter.topic), ("PLUGIN_TRAP", "unreachable", "a.b"));
    assert_eq!((letter.created_ms, letter.attempts), (4, 3));
    assert_eq!((letter.first_failure_ms, letter.last_failure_ms), (5, 6));
    assert_eq!((letter.giver, letter.stage), (Giver::Route("quakes"), Some("keep")));
    assert_eq!(letter.plugin_digest, Some("ab".repeat(32).as_str()));
    assert_eq!(letter.source, Some(source()));
    assert_eq!(letter.message().expect("it is whole").as_bytes(), message.as_bytes());
}

#[test]
fn a_letter_about_a_letter_gives_back_the_first_one_whole() {
    let first = letter_of(of_route("quakes"), &message(), &failure(Some("keep")));
    let second = letter_of(of_route("mourn"), &first, &failure(None));
    let letter = Letter::read(second.get(0).expect("one letter")).expect("it is one");
    assert_eq!((letter.topic, letter.stage), ("$dead.quakes", None));
    assert_eq!(letter.message().expect("it is whole").as_bytes(), first.as_bytes());
}

#[test]
fn a_group_gives_up_as_a_route_does_and_filters_tell_them_apart() {
    let group = GroupName::parse("mailers").expect("a name");
    let topic = Topic::parse("$dead.mailers").expect("a topic");
    let letters = DeadLetters::of_group(&group, &topic, Limits::default());
    let written = letter_of(letters, &message(), &failure(None));
    let letter = Letter::read(written.get(0).expect("one letter")).expect("it is one");
    assert_eq!(letter.giver, Giver::Group("mailers"));
    let some = |text: &str| Some(text.to_owned());
    let open = LetterFilter::default();
    for (takes, filter) in [
        (true, open.clone()),
        (true, LetterFilter { group: some("mailers"), ..open.clone() }),
        (false, LetterFilter { route: some("mailers"), ..open.clone() }),
        (false, LetterFilter { group: some("others"), ..open.clone() }),
        (true, LetterFilter { reason: some("PLUGIN_TRAP"), ..open.clone() }),
        (false, LetterFilter { reason: some("PLUGIN_TIMEOUT"), ..open.clone() }),
        (true, LetterFilter { since_ms: Some(6), until_ms: Some(7), ..open.clone() }),
        (false, LetterFilter { since_ms: Some(7), ..open.clone() }),
        (false, LetterFilter { until_ms: Some(6), ..open.clone() }),
    ] {
        assert_eq!(filter.takes(&letter), takes, "{filter:?}");
    }
}

#[test]
fn what_a_publisher_makes_up_is_no_letter() {
    let message = message();
    assert!(Letter::read(message.get(0).expect("one message")).is_none());
}

#[test]
fn headers_that_a_publisher_made_up_stay_the_messages_own() {
    let made_up = [
        (header::STREAM, "jobs"),
        (header::PARTITION, "3"),
        (header::OFFSET, "77"),
        (header::STAGE, "keep"),
        (header::PLUGIN, "00"),
        (header::OWN, ""),
    ];
    let group = GroupName::parse("mailers").expect("a name");
    let topic = Topic::parse("$dead.mailers").expect("a topic");
    for first in 0..made_up.len() {
        let mut headers = HeadersBuilder::new();
        for (name, value) in &made_up[first..] {
            headers.push(name, value.as_bytes()).expect("a header");
        }
        let mut builder = BatchBuilder::new();
        builder.push("a.b", None, headers.as_bytes(), b"raw", 4).expect("it fits");
        let message = builder.finish().expect("one message");
        let of_group = DeadLetters::of_group(&group, &topic, Limits::default());
        for mut letters in [of_route("quakes"), of_group] {
            letters.push(message.get(0).expect("one message"), &failure(None)).expect("it fits");
            let written = letters.finish().remove(0);
            let letter = Letter::read(written.get(0).expect("one letter")).expect("it is one");
            assert_eq!((&letter.source, letter.stage, letter.plugin_digest), (&None, None, None));
            assert_eq!(letter.message().expect("it is whole").as_bytes(), message.as_bytes());
        }
    }
}

#[test]
fn an_address_is_read_as_it_is_shown() {
    let (partition, offset) = source();
    let address = LetterAddress { partition, offset };
    assert_eq!(address.to_string(), "jobs/3/77");
    assert_eq!("jobs/3/77".parse(), Ok(address));
    for text in ["", "jobs/3", "jobs/3/x", "jobs/-1/7", "Jobs/3/7", "jobs/3/7/7", "/3/7"] {
        text.parse::<LetterAddress>().expect_err(text);
    }
}

#[test]
fn letters_in_too_many_places_are_refused_and_a_purge_of_the_oldest_makes_room() {
    let mut settled = SettledLetters::default();
    let most = MAX_SETTLED_RANGES as u64;
    let odd = |count: u64| (0..count).map(|place| Offset(place * 2 + 1));
    settled.settle(Offset(0), odd(most)).expect("as many as may be");
    let before = settled.clone();
    assert_eq!(settled.settle(Offset(0), [Offset(most * 2 + 1)]), Err(TooScattered));
    settled = before;
    settled.settle(Offset(0), (0..most).map(Offset)).expect("it is fewer places");
    settled.settle(Offset(0), [Offset(most * 2 + 1)]).expect("there is room");
}

proptest! {
    #[test]
    fn what_has_left_is_the_set_that_it_stands_for(
        steps in prop::collection::vec((0..20_u64, prop::collection::vec(0..40_u64, 0..8)), 0..12),
    ) {
        let (mut settled, mut model, mut trimmed) = (SettledLetters::default(), BTreeSet::new(), 0);
        for (first, letters) in steps {
            trimmed = trimmed.max(first);
            settled.settle(Offset(first), letters.iter().copied().map(Offset)).expect("few");
            model.extend(letters);
            for offset in trimmed..50 {
                prop_assert_eq!(settled.has(Offset(offset)), model.contains(&offset));
            }
            let position = settled.clone().into_position();
            prop_assert!(position.is_sound());
            prop_assert_eq!(&SettledLetters::new(position), &settled);
        }
    }
}
