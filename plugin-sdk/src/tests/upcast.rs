//! Upcasts between types: which messages they lift, pass and reject, and how several make a chain.

use waypost_sdk::{
    Reads, Role,
    prelude::*,
    testing::{Harness, Outcome, TestMessage},
};

#[derive(Deserialize)]
struct PersonV1<'a> {
    first: &'a str,
    last: &'a str,
}

#[derive(Deserialize, Serialize)]
struct PersonV2 {
    name: String,
}

#[derive(Serialize)]
struct PersonV3 {
    name: String,
    country: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    country: String,
}

mod plugins {
    use super::*;

    #[upcast(from = 1, to = 2, later(3))]
    pub(super) fn whole_name(old: PersonV1<'_>) -> Result<PersonV2> {
        if old.first.is_empty() {
            reject!("{} has no first name", old.last);
        }
        Ok(PersonV2 { name: format!("{} {}", old.first, old.last) })
    }

    #[upcast(from = 2, to = 3, name = "with-country")]
    pub(super) fn with_country(old: PersonV2, defaults: &Defaults) -> Result<PersonV3> {
        Ok(PersonV3 { name: old.name, country: defaults.country.clone() })
    }

    #[upcast(from = "1.0", to = "1.1", header = "schema")]
    pub(super) fn by_header(old: Vec<u64>) -> Result<u64> {
        Ok(old.iter().sum())
    }

    #[upcast(from = 1, to = 2, pointer = "/meta/v")]
    pub(super) fn nested(old: Value) -> Result<Value> {
        Ok(old)
    }

    /// No version can be written into it.
    #[upcast(from = 1, to = 2)]
    pub(super) fn no_object(_: Value) -> Result<Vec<u64>> {
        Ok(Vec::new())
    }
}

use plugins::{ByHeader, Nested, NoObject, WholeName, WithCountry};

fn emitted(outcome: Outcome) -> TestMessage {
    match outcome {
        Outcome::Emitted(mut messages) if messages.len() == 1 => messages.remove(0),
        other => panic!("{other:?}"),
    }
}

/// What becomes of this payload.
fn lift<P: Plugin>(payload: &Value) -> Outcome {
    Harness::<P>::new(json!({})).unwrap().run_one(TestMessage::json("t", payload))
}

fn rejected<P: Plugin>(payload: &Value) -> String {
    match lift::<P>(payload) {
        Outcome::Rejected(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_old_version_is_lifted_and_the_new_and_later_ones_pass() {
    for version in [json!(1), json!("1")] {
        let old = json!({ "version": version, "first": "Ada", "last": "Byron" });
        let new = json!({ "version": 2, "name": "Ada Byron" });
        assert_eq!(emitted(lift::<WholeName>(&old)), TestMessage::json("t", &new));
    }
    for version in [json!(2), json!("2"), json!(3)] {
        assert_eq!(lift::<WholeName>(&json!({ "version": version })), Outcome::Forwarded);
    }
}

#[test]
fn a_version_that_is_unknown_or_missing_is_rejected_with_those_that_are_known() {
    for (payload, expected) in [
        (
            json!({}),
            "the message has no version at `/version`; known are `1`, `2` (new), `3` (later)",
        ),
        (
            json!({ "version": 4 }),
            "the version `4` at `/version` is unknown; known are `1`, `2` (new), `3` (later)",
        ),
        (
            json!({ "version": 1.5 }),
            "the version at `/version` is a number, neither a whole number nor a text",
        ),
        (
            json!({ "version": 1, "first": "Ada" }),
            "the version `1`: the payload is not the JSON expected: missing field `last` at line 1 column 27",
        ),
        (json!({ "version": 1, "first": "", "last": "Byron" }), "Byron has no first name"),
    ] {
        assert_eq!(rejected::<WholeName>(&payload), expected);
    }
    assert_eq!(
        rejected::<NoObject>(&json!({ "version": 1 })),
        "`/version` cannot be set: an array on the way has no element `version`"
    );
}

/// What the next stage sees.
fn next(outcome: Outcome, message: TestMessage) -> TestMessage {
    match outcome {
        Outcome::Forwarded => message,
        other => emitted(other),
    }
}

#[test]
fn upcasts_in_a_row_lift_every_version_to_the_last() {
    let mut first = Harness::<WholeName>::new(json!({})).unwrap();
    let mut second = Harness::<WithCountry>::new(json!({ "country": "LV" })).unwrap();
    let last = json!({ "version": 3, "name": "Ada Byron", "country": "LV" });
    for payload in [
        json!({ "version": 1, "first": "Ada", "last": "Byron" }),
        json!({ "version": 2, "name": "Ada Byron" }),
        last.clone(),
    ] {
        let mut message = TestMessage::json("t", &payload).key("k");
        message = next(first.run_one(message.clone()), message);
        message = next(second.run_one(message.clone()), message);
        assert_eq!(message, TestMessage::json("t", &last).key("k"));
    }
}

#[test]
fn a_version_in_a_header_is_replaced_there() {
    let mut plugin = Harness::<ByHeader>::new(json!({})).unwrap();
    let message = |schema: &str, payload| {
        TestMessage::new("t", payload).header("a", "1").header("schema", schema)
    };
    assert_eq!(emitted(plugin.run_one(message("1.0", "[2,3]"))), message("1.1", "5"));
    // What is of the new version is not even looked into.
    assert_eq!(plugin.run_one(message("1.1", "?")), Outcome::Forwarded);
    assert_eq!(
        plugin.run_one(message("1", "[]")),
        Outcome::Rejected(
            "the version `1` in the header `schema` is unknown; known are `1.0`, `1.1` (new)"
                .into()
        )
    );
}

#[test]
fn a_version_stands_where_the_pointer_says() {
    let (old, new) = (json!({ "meta": { "v": 1 } }), json!({ "meta": { "v": 2 } }));
    assert_eq!(emitted(lift::<Nested>(&old)), TestMessage::json("t", &new));
}

#[test]
fn an_upcast_reads_headers_only_where_the_version_stands_in_one() {
    let manifest = WithCountry::manifest();
    assert_eq!((manifest.name, manifest.role), ("with-country", Role::Transform));
    assert_eq!(manifest.reads, Reads { payloads: true, ..Reads::NONE });
    assert_eq!(ByHeader::manifest().reads, Reads { payloads: true, headers: true, ..Reads::NONE });
    assert!(manifest.deterministic);
}

#[test]
fn the_configuration_of_an_upcast_is_checked() {
    let error = Harness::<WithCountry>::new(json!({ "land": "LV" })).unwrap_err();
    assert_eq!(error.to_string(), "`land`: unknown field `land`, expected `country`");
}
