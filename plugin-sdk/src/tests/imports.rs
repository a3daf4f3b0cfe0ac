//! Retry, reject, log, counters, clock and chance, as a plugin's author writes and tests them.

use waypost_sdk::{
    log::Level,
    prelude::*,
    roles,
    testing::{Harness, Outcome, TestMessage},
};

use super::run;

static SEEN: Counter = Counter::new("seen");

mod plugins {
    use super::*;

    /// Obeys the payload.
    #[filter(reads(payloads))]
    pub(super) fn answers(message: &Message) -> Result<bool> {
        match message.payload_str()? {
            "later" => Err(Error::retry_after(Duration::from_secs(5))),
            "ever" => Err(Error::retry_after(Duration::MAX).context("asked for")),
            "never" => reject!("refused on {} bytes", message.payload().len()),
            text => Ok(text.parse()?),
        }
    }

    #[transform(reads(payloads))]
    pub(super) fn busy(message: &Message) -> Result<[Outgoing; 2]> {
        match message.payload() {
            b"later" => Err(Error::retry_after(Duration::from_millis(20))),
            _ => Ok([Outgoing::new(), Outgoing::new().payload("too")]),
        }
    }

    /// Its error is not the SDK's.
    #[router(reads(payloads))]
    pub(super) fn utf8<'a>(message: &Message<'a>) -> Result<&'a str, std::str::Utf8Error> {
        str::from_utf8(message.payload())
    }

    #[filter(reads(payloads), imports(clock, random, metrics))]
    pub(super) fn asks(message: &Message) -> Result<bool> {
        SEEN.increment();
        metrics::add("bytes", message.payload().len() as u64);
        let (now, chance) = (clock::now_ms(), random::next_u64());
        log!(info, "now {now}");
        log!(warn, "{} of {}", "chance", chance);
        Ok(true)
    }

    /// Its manifest imports nothing.
    #[filter(reads(payloads))]
    pub(super) fn undeclared(message: &Message) -> Result<bool> {
        match message.payload() {
            b"clock" => Ok(clock::now_ms() > 0),
            _ => {
                SEEN.increment();
                Ok(true)
            }
        }
    }

    #[filter(imports(metrics))]
    pub(super) fn misnamed(message: &Message) -> Result<bool> {
        metrics::add(message.payload_str()?, 1);
        Ok(true)
    }

    #[filter(imports(clock), deterministic = true)]
    pub(super) fn timed(_: &Message) -> Result<bool> {
        Ok(true)
    }
}

use plugins::{Answers, Asks, Busy, Misnamed, Timed, Undeclared, Utf8};

#[test]
fn an_error_rejects_or_asks_for_another_try() {
    assert_eq!(
        run::<Answers>(json!({}), &["true", "later", "never", "false", "maybe"]),
        [
            "forwarded",
            "retried after 5s",
            "rejected: refused on 5 bytes",
            "dropped",
            "rejected: provided string was not `true` or `false`",
        ],
    );
    assert_eq!(run::<Busy>(json!({}), &["later", "x"]), ["retried after 20ms", "emitted x, too"]);
}

#[test]
fn a_retry_keeps_its_delay_in_another_context_and_beyond_what_the_contract_can_say() {
    let Outcome::Retried(after) =
        Harness::<Answers>::new(json!({})).unwrap().run_one(TestMessage::new("t", "ever"))
    else {
        panic!("it was not retried")
    };
    assert_eq!(after, Duration::from_millis(u64::MAX));
    let error = Error::retry_after(Duration::from_secs(1)).context("busy");
    assert_eq!(error.to_string(), "busy: the plugin asks for another try after 1s");
}

#[test]
fn a_function_may_return_an_error_of_its_own() {
    let mut plugin = Harness::<Utf8>::new(json!({})).unwrap();
    let outcomes = plugin.run([TestMessage::new("t", "u"), TestMessage::new("t", [0xff])]);
    assert_eq!(outcomes[0], Outcome::Emitted(vec![TestMessage::new("u", "u")]));
    assert!(
        matches!(&outcomes[1], Outcome::Rejected(why) if why.contains("utf-8")),
        "{outcomes:?}"
    );
}

#[test]
fn a_harness_sets_time_and_chance_and_shows_what_was_counted_and_logged() {
    let mut plugin = Harness::<Asks>::new(json!({})).unwrap();
    plugin.set_now_ms(7);
    plugin.set_random([3, 4]);
    plugin.run([TestMessage::new("t", "ab"), TestMessage::new("t", "c")]);
    assert_eq!((plugin.counter("seen"), plugin.counter("bytes")), (2, 3));
    assert_eq!(plugin.counter("never"), 0);
    assert_eq!(
        plugin.logged(),
        [
            (Level::Info, "now 7".to_owned()),
            (Level::Warn, "chance of 3".to_owned()),
            (Level::Info, "now 7".to_owned()),
            (Level::Warn, "chance of 4".to_owned()),
        ]
    );
    // Each harness has its own.
    assert_eq!(Harness::<Asks>::new(json!({})).unwrap().counter("seen"), 0);
}

#[test]
fn a_function_that_is_called_by_itself_has_the_systems_time_and_counts_nowhere() {
    SEEN.increment();
    assert!(clock::now_ms() > 0);
    assert_ne!(random::next_u64(), random::next_u64());
    assert!(roles::FilterResult::verdict(Ok::<_, Error>(true)).is_ok());
}

#[test]
#[should_panic(expected = "does not import `clock`: add `clock` to its `imports`")]
fn a_clock_that_the_manifest_does_not_import_is_not_there() {
    run::<Undeclared>(json!({}), &["clock"]);
}

#[test]
#[should_panic(expected = "does not import `metrics`: add `metrics` to its `imports`")]
fn counters_that_the_manifest_does_not_import_are_not_there() {
    run::<Undeclared>(json!({}), &["metrics"]);
}

#[test]
#[should_panic(expected = "`Two Words` cannot be a counter's name")]
fn a_counter_that_the_router_would_ignore_is_found() {
    run::<Misnamed>(json!({}), &["Two Words"]);
}

#[test]
fn what_was_said_before_a_panic_is_still_there() {
    let mut plugin = Harness::<Misnamed>::new(json!({})).unwrap();
    let batch = ["good", "Bad"].map(|payload| TestMessage::new("t", payload));
    let run = std::panic::AssertUnwindSafe(|| plugin.run(batch));
    assert!(std::panic::catch_unwind(run).is_err());
    assert_eq!(plugin.counter("good"), 1);
}

#[test]
fn who_imports_the_clock_or_chance_is_not_deterministic_unless_it_says_so() {
    assert!(!Asks::manifest().deterministic);
    assert!(Timed::manifest().deterministic);
    assert!(Misnamed::manifest().deterministic);
}
