//! What is kept, dropped and rejected, and which configurations are refused.

use waypost_sdk::{
    Reads,
    prelude::*,
    testing::{Harness, Outcome, TestMessage},
};

use super::FilterJson;

/// What becomes of each payload, in one batch.
fn outcomes(configuration: Value, payloads: &[&str]) -> Vec<Outcome> {
    let mut plugin = Harness::<FilterJson>::new(configuration).unwrap();
    plugin.run(payloads.iter().map(|payload| TestMessage::new("t", *payload)))
}

#[test]
fn what_meets_the_condition_is_kept_and_the_rest_dropped() {
    use Outcome::{Dropped, Forwarded};
    let payloads =
        [r#"{"type":"a","n":5}"#, r#"{"type":"b","n":null}"#, r#"{"n":"5"}"#, r#"["a"]"#, "7"];
    for (configuration, expected) in [
        (
            json!({ "pointer": "/type", "op": "eq", "value": "a" }),
            [Forwarded, Dropped, Dropped, Dropped, Dropped],
        ),
        (
            json!({ "pointer": "/type", "op": "ne", "value": "a" }),
            [Dropped, Forwarded, Forwarded, Forwarded, Forwarded],
        ),
        (
            json!({ "pointer": "/n", "op": "gt", "value": 4.5 }),
            [Forwarded, Dropped, Dropped, Dropped, Dropped],
        ),
        (
            json!({ "pointer": "/n", "op": "exists" }),
            [Forwarded, Forwarded, Forwarded, Dropped, Dropped],
        ),
        (
            json!({ "pointer": "/0", "op": "in", "value": ["a", "b"] }),
            [Dropped, Dropped, Dropped, Forwarded, Dropped],
        ),
    ] {
        assert_eq!(outcomes(configuration.clone(), &payloads), expected, "{configuration}");
    }
}

#[test]
fn a_payload_that_is_not_json_is_rejected_and_its_neighbours_go_on() {
    let configuration = json!({ "pointer": "/type", "value": "a" });
    for (payload, reason) in [
        ("", "the payload is not JSON: EOF while parsing a value at line 1 column 0"),
        (
            r#"{"type":"a""#,
            "the payload is not JSON: EOF while parsing an object at line 1 column 11",
        ),
        (r#"{"type":"a"} {}"#, "the payload is not JSON: trailing characters at line 1 column 14"),
        ("type=a", "the payload is not JSON: expected ident at line 1 column 2"),
    ] {
        let good = r#"{"type":"a"}"#;
        assert_eq!(
            outcomes(configuration.clone(), &[good, payload, good]),
            [Outcome::Forwarded, Outcome::Rejected(reason.to_owned()), Outcome::Forwarded],
        );
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_what_mends_it() {
    for (configuration, expected) in [
        (json!({}), "missing field `pointer`"),
        (
            json!({ "pointer": "type", "value": 1 }),
            "`pointer`: `type` is not a JSON pointer: it must begin",
        ),
        (json!({ "pointer": "/type" }), "the condition on `/type`: it needs a `value`"),
        (
            json!({ "pointer": "/type", "vlaue": 1 }),
            "`vlaue`: unknown field `vlaue`, expected one of",
        ),
        (json!({ "pointer": "/type", "op": "like", "value": 1 }), "`op`: unknown variant `like`"),
    ] {
        let text = Harness::<FilterJson>::new(configuration).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn only_payloads_are_read() {
    assert_eq!(FilterJson::manifest().name, "filter-json");
    assert_eq!(FilterJson::manifest().reads, Reads { payloads: true, ..Reads::NONE });
}
