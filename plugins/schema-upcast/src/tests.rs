//! How versions are read, lifted and written, and which steps are refused.

use waypost_sdk::{
    prelude::*,
    testing::{Harness, Outcome, TestMessage},
};

use super::SchemaUpcast;

/// Three versions of a customer.
fn steps() -> Value {
    json!([
        { "from": 2, "to": 3, "operations": [
            { "default": { "pointer": "/country", "value": "LV" } },
            { "bands": {
                "field": "/spent", "target": "/tier", "otherwise": "none",
                "bands": [{ "below": 100, "value": "basic" }, { "value": "gold" }],
            } },
        ] },
        { "from": 1, "to": 2, "operations": [
            { "compute": { "target": "/name", "template": "{/first} {/last}" } },
            { "remove": ["/first", "/last"] },
        ] },
    ])
}

fn plugin(version_from: Value) -> Harness<SchemaUpcast> {
    let configuration = json!({ "version_from": version_from, "current": 3, "step": steps() });
    Harness::new(configuration).unwrap()
}

fn payloads(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Emitted(messages) => {
            waypost_sdk::serde_json::from_slice(&messages[0].payload).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_version_becomes_the_current_one() {
    let mut plugin = plugin(json!({ "pointer": "/v" }));
    for (payload, expected) in [
        (
            json!({ "v": 1, "first": "Ada", "last": "Byron", "spent": 120.5 }),
            json!({ "v": 3, "name": "Ada Byron", "country": "LV", "spent": 120.5, "tier": "gold" }),
        ),
        (
            json!({ "v": "2", "name": "Ada", "country": null, "spent": 5 }),
            json!({ "v": 3, "name": "Ada", "country": null, "spent": 5, "tier": "basic" }),
        ),
        (
            json!({ "v": 2, "name": "Ada" }),
            json!({ "v": 3, "name": "Ada", "country": "LV", "tier": "none" }),
        ),
    ] {
        assert_eq!(payloads(&plugin.run_one(TestMessage::json("t", &payload))), expected);
    }
}

#[test]
fn a_message_of_the_current_version_is_forwarded_untouched() {
    let message = TestMessage::new("t", r#"{ "v": 3,   "anything": [] }"#);
    assert_eq!(plugin(json!({ "pointer": "/v" })).run_one(message), Outcome::Forwarded);
    let message = TestMessage::new("t", "not even JSON").header("version", "3");
    assert_eq!(plugin(json!({ "header": "version" })).run_one(message), Outcome::Forwarded);
}

#[test]
fn the_version_is_set_in_the_header_it_was_read_from() {
    let source = TestMessage::json("t", &json!({ "name": "Ada", "country": "DE", "spent": 1 }))
        .key("k")
        .header("version", "2")
        .header("other", "x");
    let Outcome::Emitted(messages) = plugin(json!({ "header": "version" })).run_one(source) else {
        panic!("nothing was emitted")
    };
    let headers = [("other".to_owned(), b"x".to_vec()), ("version".to_owned(), b"3".to_vec())];
    assert_eq!(messages[0].headers, headers);
    assert_eq!(messages[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(
        messages[0].payload_text(),
        r#"{"country":"DE","name":"Ada","spent":1,"tier":"basic"}"#
    );
}

#[test]
fn a_version_in_quotes_stays_a_text() {
    let mut plugin = Harness::<SchemaUpcast>::new(json!({
        "version_from": { "pointer": "/v" },
        "current": "1.1",
        "step": [{ "from": "1.0", "to": "1.1" }],
    }))
    .unwrap();
    let outcome = plugin.run_one(TestMessage::json("t", &json!({ "v": "1.0", "a": 1 })));
    assert_eq!(payloads(&outcome), json!({ "v": "1.1", "a": 1 }));
}

#[test]
fn a_missing_or_unknown_version_is_rejected_with_those_that_are_known() {
    let mut by_pointer = plugin(json!({ "pointer": "/v" }));
    for (payload, reason) in [
        ("{}", "the message has no version at `/v`; known are `2`, `1`, `3` (current)"),
        (r#"{"v":null}"#, "the message has no version at `/v`; known are `2`, `1`, `3` (current)"),
        (r#"{"v":4}"#, "the version `4` at `/v` is unknown; known are `2`, `1`, `3` (current)"),
        (r#"{"v":1.5}"#, "the version at `/v` is a number, neither a whole number nor a text"),
        (
            r#"{"v":[1]}"#,
            "the version at `/v` is an object or an array, neither a whole number nor a text",
        ),
        (
            r#"{"v":1,"first":"Ada"}"#,
            "the step from `1` to `2`: `/name` cannot be computed: `{/last}`: the message has no value there",
        ),
        ("?", "the payload is not JSON: expected value at line 1 column 1"),
    ] {
        let outcome = by_pointer.run_one(TestMessage::new("t", payload));
        assert_eq!(outcome, Outcome::Rejected(reason.to_owned()));
    }
    let outcome = plugin(json!({ "header": "version" })).run_one(TestMessage::new("t", "{}"));
    let reason =
        "the message has no version in the header `version`; known are `2`, `1`, `3` (current)";
    assert_eq!(outcome, Outcome::Rejected(reason.to_owned()));
}

#[test]
fn steps_that_do_not_lead_to_the_current_version_are_refused() {
    // The steps as pairs of from and to; then the current version.
    for (steps, current, expected) in [
        (&[][..], 2, "there is no `[[step]]`"),
        (
            &[(1, 2), (3, 4)],
            4,
            "no step leads from `2`, so that `1` cannot become `4`: add a step from `2`",
        ),
        (&[(1, 2)], 3, "no step leads from `2`, so that `1` cannot become `3`"),
        (&[(1, 2), (1, 3), (2, 3)], 3, "two steps lead from `1`: merge them"),
        (&[(1, 2), (2, 1)], 3, "the steps from `1` lead in a circle and never to `3`"),
        (&[(1, 1)], 2, "the steps from `1` lead in a circle and never to `2`"),
        (&[(1, 2), (2, 3)], 2, "a step leads from `2`, which is the `current` version"),
    ] {
        let steps: Vec<_> =
            steps.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
        let configuration =
            json!({ "version_from": { "pointer": "/v" }, "current": current, "step": steps });
        let text = Harness::<SchemaUpcast>::new(configuration).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused_with_its_path() {
    let with = |name: &str, value: Value| {
        let mut configuration =
            json!({ "version_from": { "pointer": "/v" }, "current": 3, "step": steps() });
        configuration[name] = value;
        Harness::<SchemaUpcast>::new(configuration).unwrap_err().to_string()
    };
    for (text, expected) in [
        (with("current", json!(1.5)), "`current`: 1.5 is not a version: it is a whole number"),
        (with("current", json!("")), "`current`: \"\" is not a version"),
        (
            with("version_from", json!({ "heather": "v" })),
            "unknown variant `heather`, expected `header`",
        ),
        (with("version_from", json!({ "header": "a b" })), "`a b` cannot be a header's name"),
        (
            with("version_from", json!({ "pointer": "v" })),
            "`v` is not a JSON pointer: it must begin",
        ),
        (with("steps", json!([])), "`steps`: unknown field `steps`"),
        (with("step", json!([{ "from": 1 }])), "`step[0]`: missing field `to`"),
        (
            with(
                "step",
                json!([{ "from": 1, "to": 3, "operations": [{ "rename": { "from": "x" } }] }]),
            ),
            "`x` is not a JSON pointer",
        ),
    ] {
        assert!(text.contains(expected), "{text}");
    }
}
