//! What the steps make of payloads, and which configurations are refused.

use waypost_sdk::{
    Reads,
    prelude::*,
    testing::{Harness, Outcome, TestMessage},
};

use super::TransformJson;

/// The payload that comes out, or the reason of the reject.
fn transformed(steps: &Value, payload: &str) -> Result<Value, String> {
    let mut plugin = Harness::<TransformJson>::new(json!({ "step": steps })).unwrap();
    match plugin.run_one(TestMessage::new("t", payload)) {
        Outcome::Emitted(messages) if messages.len() == 1 => {
            Ok(waypost_sdk::serde_json::from_slice(&messages[0].payload).unwrap())
        }
        Outcome::Rejected(reason) => Err(reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_step_changes_what_the_one_before_has_left() {
    let order = r#"{"id":7,"customer":{"name":"Ada","address":{"city":"Riga"}},"secret":"x"}"#;
    for (steps, expected) in [
        (json!([{ "pick": ["/id", "/customer/name"] }]), json!({ "id": 7, "name": "Ada" })),
        (
            json!([{ "pick": { "who": "/customer/name", "absent": "/no" } }]),
            json!({ "who": "Ada" }),
        ),
        (
            json!([{ "remove": ["/secret", "/no"] }, { "flatten": { "separator": "_" } }]),
            json!({ "id": 7, "customer_name": "Ada", "customer_address_city": "Riga" }),
        ),
        (
            json!([
                { "rename": { "from": "/customer/address/city", "to": "/city" } },
                { "remove": ["/customer", "/secret"] },
                { "set": { "pointer": "/version", "value": 1 } },
            ]),
            json!({ "id": 7, "city": "Riga", "version": 1 }),
        ),
        (
            json!([{ "pick": ["/id"] }, { "compute": { "target": "/link", "template": "/o/{/id}" } }]),
            json!({ "id": 7, "link": "/o/7" }),
        ),
    ] {
        assert_eq!(transformed(&steps, order), Ok(expected), "{steps}");
    }
}

#[test]
fn a_payload_that_the_steps_do_not_fit_is_rejected() {
    for (steps, payload, reason) in [
        (json!([{ "pick": ["/id"] }]), "{", "the payload is not JSON: EOF while parsing"),
        (json!([{ "remove": ["/id"] }]), "", "the payload is not JSON: EOF while parsing"),
        (json!([{ "pick": ["/id"] }]), "{}", "the message has none of the values to pick"),
        (json!([{ "flatten": {} }]), "[]", "only an object can be flattened"),
        (json!([{ "set": { "pointer": "/a", "value": 1 } }]), "3", "`/a` cannot be set: "),
    ] {
        let text = transformed(&steps, payload).unwrap_err();
        assert!(text.starts_with(reason), "{text}");
    }
}

#[test]
fn topic_key_and_headers_stay() {
    let mut plugin =
        Harness::<TransformJson>::new(json!({ "step": [{ "pick": ["/a"] }] })).unwrap();
    let source = TestMessage::new("t.u", r#"{"a":1,"b":2}"#).key("k").header("h", "v");
    let expected = TestMessage { payload: br#"{"a":1}"#.to_vec(), ..source.clone() };
    assert_eq!(plugin.run_one(source), Outcome::Emitted(vec![expected]));
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_what_mends_it() {
    for (configuration, expected) in [
        (json!({}), "missing field `step`"),
        (json!({ "step": [] }), "`step`: the list is empty: name at least one edit"),
        (
            json!({ "step": [{ "pick": ["id"] }] }),
            "`id` is not a JSON pointer: it must begin with `/`",
        ),
        (json!({ "step": [{ "move": {} }] }), "unknown variant `move`, expected one of `pick`"),
        (json!({ "steps": [] }), "`steps`: unknown field `steps`, expected `step`"),
    ] {
        let text = Harness::<TransformJson>::new(configuration).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn only_payloads_are_read() {
    assert_eq!(TransformJson::manifest().reads, Reads { payloads: true, ..Reads::NONE });
}
