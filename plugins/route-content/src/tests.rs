//! Which topic a message gets, what has none, and which configurations are refused.

use waypost_sdk::{
    Reads,
    prelude::*,
    testing::{Harness, Outcome, TestMessage},
};

use super::RouteContent;

fn rules() -> Value {
    json!([
        { "when": { "pointer": "/n", "op": "ge", "value": 10 }, "topic": "large" },
        { "when": { "pointer": "/n", "op": "ge", "value": 5 }, "topic": "by.{/kind}.size-{/n}" },
        { "when": { "pointer": "/kind", "value": "a" }, "topic": "small.a" },
    ])
}

/// The topic, or the reason of the reject.
fn routed(configuration: Value, payload: &str) -> Result<String, String> {
    let mut plugin = Harness::<RouteContent>::new(configuration).unwrap();
    match plugin.run_one(TestMessage::new("t", payload)) {
        Outcome::Emitted(mut messages) if messages.len() == 1 => {
            assert_eq!(messages[0].payload_text(), payload);
            Ok(messages.remove(0).topic)
        }
        Outcome::Rejected(reason) => Err(reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_rule_that_is_met_gives_the_topic() {
    for (payload, expected) in [
        (r#"{"n":12,"kind":"a"}"#, "large"),
        (r#"{"n":7,"kind":"a"}"#, "by.a.size-7"),
        (r#"{"n":7,"kind":3}"#, "by.3.size-7"),
        (r#"{"n":1,"kind":"a"}"#, "small.a"),
        (r#"{"n":null,"kind":"a"}"#, "small.a"),
        (r#"{"n":1,"kind":"b"}"#, "rest.b"),
    ] {
        let configuration = json!({ "rule": rules(), "otherwise": "rest.{/kind}" });
        assert_eq!(routed(configuration, payload).as_deref(), Ok(expected), "{payload}");
    }
}

#[test]
fn what_has_no_topic_is_rejected_with_the_reason() {
    let level = "cannot be a level of a topic, which is made of A-Z a-z 0-9 _ -";
    for (payload, expected) in [
        (r#"{"n":1}"#, "the message meets no rule, and there is no `otherwise` topic".to_owned()),
        (r#"{"n":7}"#, "`{/kind}`: the message has no value there".to_owned()),
        (
            r#"{"n":7,"kind":null}"#,
            "`{/kind}`: the message has null there, which cannot be put into a text".to_owned(),
        ),
        (r#"{"n":7,"kind":"a.b"}"#, format!("`{{/kind}}`: `a.b` {level}")),
        (r#"{"n":7,"kind":""}"#, format!("`{{/kind}}`: `` {level}")),
        (r#"{"n":7,"kind":">"}"#, format!("`{{/kind}}`: `>` {level}")),
        (r#"{"n":7.5,"kind":"a"}"#, format!("`{{/n}}`: `7.5` {level}")),
        ("{", "the payload is not JSON: EOF while parsing an object at line 1 column 1".to_owned()),
    ] {
        assert_eq!(routed(json!({ "rule": rules() }), payload), Err(expected));
    }
    let first =
        json!({ "rule": [{ "when": { "pointer": "", "op": "exists" }, "topic": "{/kind}.x" }] });
    let text = routed(first, r#"{"kind":"$dead"}"#).unwrap_err();
    assert_eq!(text, format!("`{{/kind}}`: `$dead` {level}"));
    let long = json!({ "n": 7, "kind": "a".repeat(250) }).to_string();
    let text = routed(json!({ "rule": rules() }), &long).unwrap_err();
    assert!(text.ends_with("a topic has 260 bytes, at most 255 are allowed"), "{text}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_what_mends_it() {
    let rule = |topic: &str| json!({ "rule": [{ "when": { "pointer": "/n", "op": "exists" }, "topic": topic }] });
    for (configuration, expected) in [
        (json!({}), "missing field `rule`"),
        (json!({ "rule": [] }), "there is no `[[rule]]`"),
        (json!({ "rule": [{ "topic": "t" }] }), "`rule[0]`: missing field `when`"),
        (
            json!({ "rule": [{ "when": { "pointer": "/n" }, "topic": "t" }] }),
            "`rule[0].when`: the condition on",
        ),
        (json!({ "rule": rules(), "else": "t" }), "`else`: unknown field `else`"),
        (rule("a..b"), "`rule[0].topic`: `a..b` does not make a topic"),
        (rule("a.{n}"), "`n` is not a JSON pointer: it must begin with `/`"),
        (rule("a.{/n"), "a `{` is not closed"),
        (rule("$dead.{/n}"), "begins with `$`: such topics belong to the router"),
        (rule("a.*"), "does not make a topic"),
        (rule(""), "does not make a topic"),
    ] {
        let text = Harness::<RouteContent>::new(configuration).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn only_payloads_are_read() {
    assert_eq!(RouteContent::manifest().reads, Reads { payloads: true, ..Reads::NONE });
}
