//! What pointers, conditions, templates and excerpts make of documents, and which of them are refused.

use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Condition, Pointer, Pointers, Template};
use crate::{Result, runtime};

/// Reads a configuration as a plugin's is read.
pub(super) fn read<T: DeserializeOwned>(configuration: &Value) -> Result<T> {
    runtime::parse(&configuration.to_string())
}

/// What is said when the configuration is refused.
pub(super) fn refused<T: DeserializeOwned + Debug>(configuration: &Value) -> String {
    read::<T>(configuration).unwrap_err().to_string()
}

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).unwrap()
}

/// The document of RFC 6901, section 5.
fn rfc_document() -> Value {
    json!({
        "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6,
        " ": 7, "m~n": 8
    })
}

#[test]
fn pointers_read_the_examples_of_their_specification() {
    let document = rfc_document();
    for (text, expected) in [
        ("", document.clone()),
        ("/foo", json!(["bar", "baz"])),
        ("/foo/0", json!("bar")),
        ("/", json!(0)),
        ("/a~1b", json!(1)),
        ("/c%d", json!(2)),
        ("/e^f", json!(3)),
        ("/g|h", json!(4)),
        ("/i\\j", json!(5)),
        ("/k\"l", json!(6)),
        ("/ ", json!(7)),
        ("/m~0n", json!(8)),
    ] {
        assert_eq!(pointer(text).get(&document), Some(&expected), "{text}");
        let payload = document.to_string();
        let pointers = [pointer(text)];
        let pointers = Pointers::new(&pointers);
        let excerpt = pointers.read(payload.as_bytes()).unwrap();
        assert_eq!(excerpt.value(&pointer(text)).unwrap(), Some(expected), "{text}");
    }
    for text in ["/foo/00", "/foo/2", "/foo/-", "/foo/bar", "/no", "/a~1b/c", "/foo/01"] {
        assert_eq!(pointer(text).get(&document), None, "{text}");
    }
}

#[test]
fn a_malformed_pointer_is_refused_with_what_mends_it() {
    assert_eq!(
        refused::<Pointer>(&json!("properties/type")),
        "`properties/type` is not a JSON pointer: it must begin with `/`, as `/properties/type` does"
    );
    for text in ["/a~", "/a~2", "/~"] {
        assert!(refused::<Pointer>(&json!(text)).contains("write `~` as `~0`"), "{text}");
    }
}

#[test]
fn a_value_is_set_at_a_pointer() {
    for (before, text, after) in [
        (json!({}), "/a", json!({ "a": 1 })),
        (json!({ "a": 0 }), "/a", json!({ "a": 1 })),
        (json!({ "a": null }), "/a/b/c", json!({ "a": { "b": { "c": 1 } } })),
        (json!(null), "/a", json!({ "a": 1 })),
        (json!([0, 0]), "/1", json!([0, 1])),
        (json!([]), "/-", json!([1])),
        (json!([]), "/-/x", json!([{ "x": 1 }])),
        (json!({ "a": 0 }), "", json!(1)),
    ] {
        let mut document = before;
        pointer(text).set(&mut document, json!(1)).unwrap();
        assert_eq!(document, after, "{text}");
    }
    for (before, text, reason) in [
        (json!({ "a": 1 }), "/a/b", "`b` would be a field of something that is not an object"),
        (json!([0]), "/1", "an array on the way has no element `1`"),
        (json!([0]), "/x", "an array on the way has no element `x`"),
    ] {
        let error = pointer(text).set(&mut before.clone(), json!(1)).unwrap_err();
        assert_eq!(error.to_string(), format!("`{text}` cannot be set: {reason}"));
    }
}

#[test]
fn a_value_is_taken_out_at_a_pointer() {
    for (before, text, taken, after) in [
        (json!({ "a": 1, "b": 2 }), "/a", Some(json!(1)), json!({ "b": 2 })),
        (json!({ "a": [1, 2, 3] }), "/a/1", Some(json!(2)), json!({ "a": [1, 3] })),
        (json!({ "a": [1] }), "/a/1", None, json!({ "a": [1] })),
        (json!({ "a": 1 }), "/a/b", None, json!({ "a": 1 })),
        (json!({ "a": 1 }), "", Some(json!({ "a": 1 })), json!(null)),
    ] {
        let mut document = before;
        assert_eq!(pointer(text).take(&mut document), taken, "{text}");
        assert_eq!(document, after, "{text}");
    }
}

#[test]
fn each_operator_holds_for_what_its_table_says() {
    // The document, then for each condition on `/x` whether it holds.
    let conditions = [
        json!({ "op": "eq", "value": 3 }),
        json!({ "value": "b" }),
        json!({ "op": "ne", "value": 3 }),
        json!({ "op": "lt", "value": 3 }),
        json!({ "op": "le", "value": 3 }),
        json!({ "op": "gt", "value": 3 }),
        json!({ "op": "ge", "value": 3 }),
        json!({ "op": "ge", "value": "b" }),
        json!({ "op": "in", "value": [3, "b", true] }),
        json!({ "op": "exists" }),
        json!({ "op": "exists", "value": false }),
    ];
    for (document, expected) in [
        (r#"{"x":3}"#, "y.. .y.y. yy."),
        (r#"{"x":3.0}"#, "y.. .y.y. yy."),
        (r#"{"x":30e-1}"#, "y.. .y.y. yy."),
        (r#"{"x":2.5}"#, "..y yy... .y."),
        (r#"{"x":-7}"#, "..y yy... .y."),
        (r#"{"x":1e999}"#, "..y ..yy. .y."),
        (r#"{"x":"b"}"#, ".yy ....y yy."),
        (r#"{"x":"\u0062"}"#, ".yy ....y yy."),
        (r#"{"x":"a"}"#, "..y ..... .y."),
        (r#"{"x":"c"}"#, "..y ....y .y."),
        (r#"{"x":true}"#, "..y ..... yy."),
        (r#"{"x":null}"#, "..y ..... .y."),
        (r#"{"x":[3]}"#, "..y ..... .y."),
        (r#"{"x":{}}"#, "..y ..... .y."),
        (r#"{"y":3}"#, "..y ..... ..y"),
        ("3", "..y ..... ..y"),
    ] {
        let expected: Vec<_> = expected.chars().filter(|mark| *mark != ' ').collect();
        assert_eq!(expected.len(), conditions.len());
        for (condition, expected) in conditions.iter().zip(expected) {
            let mut condition = condition.clone();
            condition["pointer"] = json!("/x");
            let read: Condition = read(&condition).unwrap();
            let pointers = Pointers::new([read.pointer()]);
            let holds = read.holds(&pointers.read(document.as_bytes()).unwrap());
            assert_eq!(holds, expected == 'y', "{condition} on {document}");
            if let Ok(document) = serde_json::from_str::<Value>(document) {
                assert_eq!(read.holds(&document), holds, "{condition} on {document}, parsed");
            }
        }
    }
}

#[test]
fn large_whole_numbers_are_compared_exactly() {
    let condition: Condition =
        read(&json!({ "pointer": "", "op": "gt", "value": 9_007_199_254_740_992_u64 })).unwrap();
    assert!(condition.holds(&json!(9_007_199_254_740_993_u64)));
    assert!(!condition.holds(&json!(9_007_199_254_740_992_u64)));
}

#[test]
fn a_condition_that_cannot_work_is_refused_with_what_mends_it() {
    for (condition, expected) in [
        (json!({}), "missing field `pointer`"),
        (json!({ "pointer": "x" }), "`pointer`: `x` is not a JSON pointer: it must begin with `/`"),
        (json!({ "pointer": "/x" }), "the condition on `/x`: it needs a `value` to compare with"),
        (
            json!({ "pointer": "/x", "op": "equals" }),
            "`op`: unknown variant `equals`, expected one of",
        ),
        (
            json!({ "pointer": "/x", "op": "lt", "value": true }),
            "its `value` is a boolean; only numbers",
        ),
        (json!({ "pointer": "/x", "op": "in", "value": 3 }), "takes an array of at least one"),
        (json!({ "pointer": "/x", "op": "in", "value": [] }), "takes an array of at least one"),
        (
            json!({ "pointer": "/x", "op": "in", "value": [[1]] }),
            "holds an object or an array; compare",
        ),
        (json!({ "pointer": "/x", "value": {} }), "holds an object or an array; compare"),
        (json!({ "pointer": "/x", "op": "exists", "value": 1 }), "takes true or false"),
        (json!({ "pointer": "/x", "valeu": 1 }), "`valeu`: unknown field `valeu`, expected one of"),
    ] {
        let text = refused::<Condition>(&condition);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_template_renders_values_and_braces() {
    let document = json!({ "net": "uw", "n": 7, "f": 4.0, "b": true, "a/b": { "c": "deep" } });
    for (template, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("quakes.region.{/net}", "quakes.region.uw"),
        ("{/net}{/n}", "uw7"),
        ("{/f} {/b} {/a~1b/c}", "4.0 true deep"),
        ("{{{/net}}} {{}}", "{uw} {}"),
    ] {
        assert_eq!(Template::parse(template).unwrap().render(&document).unwrap(), expected);
    }
    for (template, expected) in [
        ("x{/no}", "`{/no}`: the message has no value there"),
        (
            "{/a~1b}",
            "`{/a~1b}`: the message has an object or an array there, which cannot be put into a text",
        ),
    ] {
        let error = Template::parse(template).unwrap().render(&document).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_malformed_template_is_refused_with_what_mends_it() {
    for (template, expected) in [
        ("a{", "a `{` is not closed; `{{` stands for a brace itself"),
        ("a}", "a `}` closes nothing; `}}` stands for a brace itself"),
        ("a{}", "name a pointer between the braces, as in `{/net}`"),
        ("a{net}", "`net` is not a JSON pointer: it must begin with `/`"),
    ] {
        let text = refused::<Template>(&json!(template));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_is_not_json_is_an_error_that_says_so() {
    let pointers = [pointer("/a")];
    let pointers = Pointers::new(&pointers);
    for payload in [&b""[..], b"{", b"{\"a\":1}}", b"nothing", b"{\"b\":tru}", b"\xff", b"{'a':1}"]
    {
        let text = pointers.read(payload).unwrap_err().to_string();
        assert!(text.starts_with("the payload is not JSON: "), "{text}");
    }
}

#[test]
#[should_panic(expected = "`/b` was not looked for")]
fn a_pointer_that_was_not_looked_for_is_a_mistake_of_the_plugin() {
    let pointers = [pointer("/a")];
    let _ = Pointers::new(&pointers).read(b"{}").unwrap().value(&pointer("/b"));
}

/// Documents of few names, so that pointers often hit.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has none", |float| float.is_finite()).prop_map(Value::from),
        "[a-c\"\\\\é]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c01]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn an_excerpt_holds_what_the_parsed_document_holds(
        document in documents(),
        texts in prop::collection::vec("(/[a-c01]){0,3}", 1..6),
    ) {
        let asked: Vec<_> = texts.iter().map(|text| pointer(text)).collect();
        let pointers = Pointers::new(&asked);
        let payload = document.to_string();
        let excerpt = pointers.read(payload.as_bytes()).unwrap();
        for pointer in &asked {
            prop_assert_eq!(excerpt.value(pointer).unwrap(), pointer.get(&document).cloned());
        }
    }

    #[test]
    fn an_excerpt_takes_the_last_of_equal_fields(
        fields in prop::collection::vec(("[ab]", documents()), 0..6),
    ) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let payload = format!("{{{}}}", fields.join(","));
        let document: Value = serde_json::from_str(&payload).unwrap();
        let asked = ["/a", "/b/a", "/a/b", "/b/0"].map(pointer);
        let pointers = Pointers::new(&asked);
        let excerpt = pointers.read(payload.as_bytes()).unwrap();
        for pointer in &asked {
            prop_assert_eq!(excerpt.value(pointer).unwrap(), pointer.get(&document).cloned());
        }
    }
}
