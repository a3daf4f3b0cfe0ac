//! What edits make of documents, what they do not allow, and which of them are refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::tests::{read, refused},
    Edit, Edits,
};

#[test]
fn edits_change_a_document_in_order() {
    for (edits, before, after) in [
        (
            json!([{ "pick": ["/a/b", "/c"] }]),
            json!({ "a": { "b": [1] }, "d": 2 }),
            json!({ "b": [1] }),
        ),
        (
            json!([{ "pick": { "x": "/a", "y": "/a/b", "z": "/l/1" } }, { "remove": ["/x/b"] }]),
            json!({ "a": { "b": null, "c": 1 }, "l": [3, 4] }),
            json!({ "x": { "c": 1 }, "y": null, "z": 4 }),
        ),
        (
            json!([{ "remove": ["/d"] }, { "pick": { "all": "" } }]),
            json!({ "a": 1, "d": 2 }),
            json!({ "all": { "a": 1 } }),
        ),
        (
            json!([{ "rename": { "from": "/a", "to": "/b/c" } }]),
            json!({ "a": 1 }),
            json!({ "b": { "c": 1 } }),
        ),
        (json!([{ "rename": { "from": "/a", "to": "/b" } }]), json!({ "b": 1 }), json!({ "b": 1 })),
        (
            json!([{ "rename": { "from": "", "to": "/w" } }]),
            json!({ "w": 1 }),
            json!({ "w": { "w": 1 } }),
        ),
        (
            json!([{ "set": { "pointer": "/a", "value": [2] } }]),
            json!({ "a": 1 }),
            json!({ "a": [2] }),
        ),
        (
            json!([
                { "default": { "pointer": "/a", "value": 2 } },
                { "default": { "pointer": "/b", "value": 2 } },
            ]),
            json!({ "a": null }),
            json!({ "a": null, "b": 2 }),
        ),
        (
            json!([{ "compute": { "target": "/t", "template": "{/a}-{/b}" } }]),
            json!({ "a": 1, "b": "x" }),
            json!({ "a": 1, "b": "x", "t": "1-x" }),
        ),
        (
            json!([{ "flatten": {} }]),
            json!({ "a": { "b": { "c": 1 }, "d": [{}] }, "e": {} }),
            json!({ "a.b.c": 1, "a.d": [{}], "e": {} }),
        ),
        (
            json!([{ "flatten": { "separator": "_", "depth": 1 } }]),
            json!({ "a": { "b": { "c": 1 } } }),
            json!({ "a_b": { "c": 1 } }),
        ),
    ] {
        let read: Edits = read(&edits).unwrap();
        assert_eq!(read.apply(before.to_string().as_bytes()).unwrap(), after, "{edits}");
    }
}

#[test]
fn edits_that_a_document_does_not_allow_are_errors() {
    for (edit, document, expected) in [
        (json!({ "pick": ["/x"] }), json!({ "a": 1 }), "none of the values to pick"),
        (
            json!({ "rename": { "from": "/a", "to": "/b" } }),
            json!({ "a": 1, "b": null }),
            "`/a` cannot be renamed to `/b`, where there is a value already",
        ),
        (json!({ "flatten": {} }), json!([]), "only an object can be flattened"),
        (json!({ "flatten": {} }), json!({ "a": { "b": 1 }, "a.b": 2 }), "would be named `a.b`"),
        (
            json!({ "compute": { "target": "/t", "template": "{/a}" } }),
            json!({ "a": null }),
            "`/t` cannot be computed: `{/a}`: the message has null there",
        ),
    ] {
        let edits: Edits = read(&json!([edit])).unwrap();
        let text = edits.apply(document.to_string().as_bytes()).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn edits_that_cannot_work_are_refused_with_what_mends_them() {
    for (edit, expected) in [
        (json!({ "pik": [] }), "[0]`: unknown variant `pik`, expected one of `pick`"),
        (json!({ "pick": [] }), "nothing is picked: name at least one pointer"),
        (
            json!({ "pick": "/a" }),
            "expected a table of new names and pointers, or a list of pointers",
        ),
        (json!({ "pick": { "a": "b" } }), ".a`: `b` is not a JSON pointer"),
        (json!({ "pick": ["/a/x", "/b/x"] }), "`/a/x` and `/b/x` would both be named `x`"),
        (json!({ "pick": [""] }), "the whole document has no name"),
        (json!({ "remove": [] }), "the list is empty: name at least one"),
        (json!({ "rename": { "from": "/a" } }), "missing field `to`"),
        (json!({ "set": { "pointer": "/a", "value": 1, "x": 1 } }), "unknown field `x`"),
        (json!({ "flatten": { "separator": "" } }), "`separator` is empty"),
        (json!({ "flatten": { "depth": 0 } }), "`depth` is 0: it lies between 1 and 64"),
        (json!({ "compute": { "target": "/a", "template": "{" } }), ".template`: the template `{`"),
        (bands(json!([])), "the list is empty"),
        (bands(json!([{ "value": 1 }, { "below": 1, "value": 1 }])), "only the last of `bands`"),
        (
            bands(json!([{ "below": 2, "value": 1 }, { "below": 2.0, "value": 1 }])),
            "must increase, and 2 stands behind 2",
        ),
    ] {
        let text = refused::<Edits>(&json!([edit]));
        assert!(text.contains(expected), "{text}");
    }
    assert!(refused::<Edits>(&json!([])).contains("name at least one edit"));
}

fn bands(bands: Value) -> Value {
    json!({ "bands": { "field": "/n", "target": "/b", "bands": bands } })
}

#[test]
fn a_band_is_named_by_the_first_bound_above_the_number() {
    let open = bands(json!([{ "below": 3, "value": "low" }, { "below": 5.5, "value": "middle" }]));
    let mut closed = open.clone();
    closed["bands"]["bands"].as_array_mut().unwrap().push(json!({ "value": "high" }));
    let mut otherwise = open.clone();
    otherwise["bands"]["otherwise"] = json!("unknown");
    for (edit, number, expected) in [
        (&closed, json!(-1), Ok("low")),
        (&closed, json!(2.99), Ok("low")),
        (&closed, json!(3), Ok("middle")),
        (&closed, json!(5.5), Ok("high")),
        (
            &closed,
            json!(null),
            Err("`/n` is null, not a number, and the bands have no `otherwise`"),
        ),
        (
            &closed,
            json!("4"),
            Err("`/n` is a string, not a number, and the bands have no `otherwise`"),
        ),
        (
            &open,
            json!(7),
            Err("`/n` is 7, which lies behind the last band, and the bands have no `otherwise`"),
        ),
        (&otherwise, json!(7), Ok("unknown")),
        (&otherwise, json!(null), Ok("unknown")),
        (&otherwise, json!({}), Ok("unknown")),
    ] {
        let edit: Edit = read(edit).unwrap();
        let mut document = json!({ "n": number });
        let result = edit.apply(&mut document).map_err(|error| error.to_string());
        let band = result.map(|()| document["b"].as_str().unwrap().to_owned());
        assert_eq!(band.as_deref().map_err(|text| &**text), expected);
    }
}

proptest! {
    #[test]
    fn numbers_leave_as_they_came(number in any::<f64>().prop_filter("JSON has none", |n| n.is_finite())) {
        let edits: Edits = read(&json!([{ "pick": ["/n"] }])).unwrap();
        let payload = json!({ "n": number }).to_string();
        prop_assert_eq!(edits.apply(payload.as_bytes()).unwrap().to_string(), payload);
    }
}
