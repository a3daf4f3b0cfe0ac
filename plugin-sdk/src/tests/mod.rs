//! The macros and the general trait, through the columns that the router would hand over.

use waypost_sdk::{
    Manifest, NoConfig, Reads, Role,
    prelude::*,
    runtime,
    testing::{Harness, Outcome, TestMessage},
};

mod imports;
mod upcast;

/// The plugins of each role, as a user writes them.
mod plugins {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Limits {
        pub(super) limits: Vec<Limit>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Limit {
        pub(super) minimum: u64,
    }

    #[filter(reads(payloads))]
    pub(super) fn large_enough(message: &Message, config: &Limits) -> Result<bool> {
        let value: u64 = message.json()?;
        Ok(config.limits.iter().all(|limit| value >= limit.minimum))
    }

    #[transform(reads(payloads))]
    pub(super) fn upper(message: &Message) -> Result<Outgoing> {
        Ok(Outgoing::new().payload(message.payload_str()?.to_uppercase()))
    }

    #[transform(name = "unless-empty", reads(payloads))]
    pub(super) fn unless_empty(message: &Message) -> Result<Option<Outgoing>> {
        Ok((!message.payload().is_empty()).then(Outgoing::new))
    }

    #[transform(reads(payloads, headers), imports(clock, metrics), deterministic = false)]
    pub(super) fn words(message: &Message) -> Result<Vec<Outgoing>> {
        let words = message.payload_str()?.split_whitespace();
        Ok(words.map(|word| Outgoing::new().payload(word).header("word", word)).collect())
    }

    #[router(reads(topics, keys))]
    pub(super) fn by_key(message: &Message) -> Result<Option<String>> {
        let Some(key) = message.key() else { return Ok(None) };
        Ok(Some(format!("{}.{}", message.topic(), str::from_utf8(key)?)))
    }

    /// It does not read keys, but asks for one.
    #[filter(reads(payloads))]
    pub(super) fn forgetful(message: &Message) -> Result<bool> {
        Ok(message.key().is_some())
    }

    #[filter]
    pub(super) fn reads_all(message: &Message) -> Result<bool> {
        Ok(message.created_ms() > 0)
    }
}

use plugins::{ByKey, Forgetful, LargeEnough, ReadsAll, UnlessEmpty, Upper, Words};

/// Obeys the payload: `emit N`, then a verdict; it counts what it has seen.
struct Obedient {
    seen: u64,
}

impl Plugin for Obedient {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Manifest {
            name: "obedient",
            version: "1",
            role: Role::General,
            reads: Reads { payloads: true, headers: true, ..Reads::NONE },
            imports: &[],
            deterministic: false,
        }
    }

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self { seen: 0 })
    }

    fn process(&mut self, message: &Message<'_>, emitter: &mut Emitter<'_>) -> Result<Verdict> {
        self.seen += 1;
        let (count, verdict) = message.payload_str()?.split_once(' ').unwrap_or_default();
        for index in 0..count.parse()? {
            emitter.emit(Outgoing::new().payload(format!("{}-{index}", self.seen)))?;
        }
        match verdict {
            "forward" => Ok(Verdict::Forward),
            "drop" => Ok(Verdict::Drop),
            "emit" => Ok(Verdict::Emit),
            "retry" => Ok(Verdict::Retry(Duration::from_millis(250))),
            "header" => {
                emitter.emit(Outgoing::new().header("no spaces", "allowed"))?;
                Ok(Verdict::Emit)
            }
            other => Err(Error::msg(format_args!("no verdict `{other}`"))),
        }
    }
}

/// Hands over one batch with these payloads and gives what became of each, as text.
fn run<P: Plugin>(configuration: Value, payloads: &[&str]) -> Vec<String> {
    let mut plugin = Harness::<P>::new(configuration).unwrap();
    let messages = payloads.iter().map(|payload| TestMessage::new("t", *payload));
    plugin.run(messages).iter().map(text).collect()
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Forwarded => "forwarded".to_owned(),
        Outcome::Dropped => "dropped".to_owned(),
        Outcome::Retried(after) => format!("retried after {after:?}"),
        Outcome::Rejected(reason) => format!("rejected: {reason}"),
        Outcome::Emitted(messages) => {
            let payloads: Vec<_> = messages.iter().map(TestMessage::payload_text).collect();
            format!("emitted {}", payloads.join(", "))
        }
    }
}

#[test]
fn a_filter_forwards_drops_and_rejects_each_message_for_itself() {
    assert_eq!(
        run::<LargeEnough>(json!({ "limits": [{ "minimum": 5 }] }), &["7", "3", "?", "5"]),
        [
            "forwarded",
            "dropped",
            "rejected: the payload is not the JSON expected: expected value at line 1 column 1",
            "forwarded",
        ],
    );
}

#[test]
fn a_transform_replaces_drops_or_multiplies() {
    assert_eq!(run::<Upper>(json!({}), &["ab", "c"]), ["emitted AB", "emitted C"]);
    assert_eq!(run::<UnlessEmpty>(json!({}), &["ab", ""]), ["emitted ab", "dropped"]);
    assert_eq!(
        run::<Words>(json!({}), &["a b", " ", "c"]),
        ["emitted a, b", "dropped", "emitted c"]
    );
}

#[test]
fn a_router_changes_the_topic_alone() {
    let mut plugin = Harness::<ByKey>::new(json!({})).unwrap();
    let source = TestMessage::new("t", "x").key("k").header("a", "1");
    let outcomes = plugin.run([source.clone(), TestMessage::new("t", "y")]);
    let routed = TestMessage { topic: "t.k".to_owned(), ..source };
    assert_eq!(outcomes, [Outcome::Emitted(vec![routed]), Outcome::Forwarded]);
}

#[test]
fn what_was_emitted_before_an_error_or_a_retry_is_discarded() {
    let outcomes = run::<Obedient>(
        json!({}),
        &["1 emit", "2 oops", "1 retry", "0 forward", "2 emit", "0 drop"],
    );
    assert_eq!(
        outcomes,
        [
            "emitted 1-0",
            "rejected: no verdict `oops`",
            "retried after 250ms",
            "forwarded",
            "emitted 5-0, 5-1",
            "dropped",
        ],
    );
}

#[test]
fn a_verdict_that_contradicts_the_emitted_messages_is_a_reject() {
    assert_eq!(
        run::<Obedient>(json!({}), &["0 emit", "1 drop", "1 forward", "1 header"]),
        [
            "rejected: the plugin's verdict is `Emit`, but it has emitted nothing; `Drop` says that",
            "rejected: the plugin's verdict is `Drop`, but it has emitted 1 messages; `Emit` sends them",
            "rejected: the plugin's verdict is `Forward`, but it has emitted 1 messages; `Emit` sends them",
            "rejected: a header of an emitted message: the name of header 0 is empty or not visible ASCII",
        ],
    );
}

#[test]
fn a_long_reason_is_cut_between_two_characters() {
    let verdict = format!("0 x{}", "é".repeat(100_000));
    let Some(Outcome::Rejected(reason)) =
        Harness::<Obedient>::new(json!({})).unwrap().run([TestMessage::new("t", verdict)]).pop()
    else {
        panic!("it was not rejected")
    };
    assert!((1000..=1027).contains(&reason.len()), "{}", reason.len());
    assert!(reason.starts_with("no verdict `xé") && reason.ends_with("é…"), "{reason}");
}

/// Emits what `edit` makes of each source.
struct Edit<const WHICH: usize>;

const EDITS: [fn(Outgoing) -> Outgoing; 7] = [
    |message| message,
    |message| message.header("c", "3"),
    |message| message.without_header("a"),
    |message| message.without_header("a").header("a", "9"),
    Outgoing::clear_headers,
    |message| message.clear_headers().header("c", "3"),
    |message| message.topic("u").key("k").no_key().payload(""),
];

impl<const WHICH: usize> Plugin for Edit<WHICH> {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Manifest { reads: Reads { headers: true, ..Reads::NONE }, ..Obedient::manifest() }
    }

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, _: &Message<'_>, emitter: &mut Emitter<'_>) -> Result<Verdict> {
        emitter.emit(EDITS[WHICH](Outgoing::new()))?;
        Ok(Verdict::Emit)
    }
}

/// What becomes of a message on `t` with the key `k`, the headers a=1, b=2, a=3 and the payload `p`.
fn edited<const WHICH: usize>() -> TestMessage {
    let source =
        TestMessage::new("t", "p").key("k").header("a", "1").header("b", "2").header("a", "3");
    match Harness::<Edit<WHICH>>::new(json!({})).unwrap().run_one(source) {
        Outcome::Emitted(mut messages) if messages.len() == 1 => messages.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_are_inherited_added_removed_and_cleared() {
    let headers = |message: TestMessage| {
        let pairs = message.headers.into_iter();
        pairs
            .map(|(name, value)| name + &String::from_utf8_lossy(&value))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(headers(edited::<0>()), "a1 b2 a3");
    assert_eq!(headers(edited::<1>()), "a1 b2 a3 c3");
    assert_eq!(headers(edited::<2>()), "b2");
    assert_eq!(headers(edited::<3>()), "b2 a9");
    assert_eq!(headers(edited::<4>()), "");
    assert_eq!(headers(edited::<5>()), "c3");
}

#[test]
fn topic_key_and_payload_are_replaced_and_the_rest_is_inherited() {
    let message = edited::<6>();
    assert_eq!((&*message.topic, &message.key, &*message.payload), ("u", &None, &b""[..]));
    assert_eq!(message.headers.len(), 3);
}

#[test]
fn a_configuration_error_names_its_path() {
    let refused = |configuration: Value| {
        Harness::<LargeEnough>::new(configuration).err().map(|error| error.to_string())
    };
    assert_eq!(refused(json!({ "limits": [] })), None);
    for (configuration, expected) in [
        (json!({}), "missing field `limits`"),
        (
            json!({ "limits": [{ "minimum": 1 }, { "minimum": "x" }] }),
            "`limits[1].minimum`: invalid type: string \"x\", expected u64",
        ),
        (
            json!({ "limits": [{ "minimum": 1, "more": 2 }] }),
            "`limits[0].more`: unknown field `more`, expected `minimum`",
        ),
    ] {
        assert_eq!(refused(configuration).as_deref(), Some(expected));
    }
    assert!(
        Harness::<Upper>::new(json!({ "x": 1 }))
            .unwrap_err()
            .to_string()
            .contains("unknown field `x`")
    );
}

#[test]
#[should_panic(expected = "does not read `keys`: add `keys` to its `reads`")]
fn a_column_that_the_manifest_does_not_read_is_not_there() {
    run::<Forgetful>(json!({}), &["x"]);
}

#[test]
fn the_manifest_says_what_stands_in_the_attribute() {
    let manifest = Words::manifest();
    assert_eq!(manifest.name, "waypost-sdk");
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest.role, Role::Transform);
    assert_eq!(manifest.reads, Reads { payloads: true, headers: true, ..Reads::NONE });
    assert!(!manifest.deterministic);
    assert_eq!(runtime::manifest::<Words>().imports, ["log", "clock", "metrics"]);

    assert_eq!(UnlessEmpty::manifest().name, "unless-empty");
    assert_eq!(ByKey::manifest().role, Role::Router);
    let all = ReadsAll::manifest();
    assert_eq!((all.role, all.reads, all.deterministic), (Role::Filter, Reads::ALL, true));
    assert_eq!(runtime::manifest::<ReadsAll>().imports, ["log"]);
}
