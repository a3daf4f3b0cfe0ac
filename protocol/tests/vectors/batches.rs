//! Valid batches: what they are made of, and how they are described.

use serde::{Deserialize, Serialize};
use waypost_protocol::{Batch, BatchBuilder, HeadersBuilder, dead_letter};

use crate::files::{Hex, Vector, Wide};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) describes: String,
    pub(crate) messages: Vec<Message>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    pub(crate) topic: String,
    /// `null` is no key, which is another thing than an empty one.
    pub(crate) key: Option<Hex>,
    pub(crate) headers: Vec<Header>,
    pub(crate) payload: Hex,
    pub(crate) created_ms: Wide,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: Hex,
}

/// Reads a batch through its views.
pub(crate) fn describe(batch: &Batch) -> Vec<Message> {
    batch
        .iter()
        .map(|message| Message {
            topic: message.topic().to_owned(),
            key: message.key().map(Hex::from),
            headers: message
                .headers()
                .iter()
                .map(|(name, value)| Header { name: name.to_owned(), value: value.into() })
                .collect(),
            payload: message.payload().into(),
            created_ms: Wide(message.created_ms()),
        })
        .collect()
}

/// Makes a batch of its description.
pub(crate) fn build(messages: &[Message]) -> Batch {
    let mut builder = BatchBuilder::new();
    for message in messages {
        let mut headers = HeadersBuilder::new();
        for Header { name, value } in &message.headers {
            headers.push(name, &value.0).expect("the header is sound");
        }
        let key = message.key.as_ref().map(|key| key.0.as_slice());
        let Wide(created_ms) = message.created_ms;
        builder
            .push(&message.topic, key, headers.as_bytes(), &message.payload.0, created_ms)
            .expect("the message is within the limits");
    }
    builder.finish().expect("there is a message")
}

/// A message as the cases below write it.
pub(crate) fn message(
    topic: &str,
    key: Option<&str>,
    headers: &[(&str, &[u8])],
    payload: &[u8],
    created_ms: u64,
) -> Message {
    Message {
        topic: topic.to_owned(),
        key: key.map(|key| key.as_bytes().into()),
        headers: headers
            .iter()
            .map(|&(name, value)| Header { name: name.to_owned(), value: value.into() })
            .collect(),
        payload: payload.into(),
        created_ms: Wide(created_ms),
    }
}

/// The valid batches of this version.
pub(crate) fn cases() -> Vec<Vector<Description>> {
    let case = |name: &str, describes: &str, messages: Vec<Message>| Vector {
        name: name.to_owned(),
        bytes: build(&messages).as_bytes().to_vec(),
        description: Description { describes: describes.to_owned(), messages },
    };
    vec![
        case("one-message", "One message with a key, two headers and a payload.", one_message()),
        case(
            "smallest",
            "The smallest batch: a topic of one byte, no key, no headers, no payload, time 0.",
            vec![message("a", None, &[], b"", 0)],
        ),
        case(
            "keys",
            "Keys that are present, absent and empty; nine messages, so the bitmap has two bytes.",
            keys(),
        ),
        case(
            "eight-messages",
            "Eight messages with keys: the bitmap is one byte without an unused bit.",
            (0..8).map(|nth| message("full.byte", Some("k"), &[], &[nth], nth.into())).collect(),
        ),
        case(
            "headers",
            "No header, a repeated name, an empty value, a value of any bytes, the longest name, \
             the first and the last visible ASCII character as names.",
            headers(),
        ),
        case("most-headers", "As many headers as the default limit allows: 64.", most_headers()),
        case("topics", "The longest topic (255 bytes in 16 levels) between others.", topics()),
        case(
            "payloads",
            "An empty payload, one of every byte value, the largest creation time.",
            payloads(),
        ),
        case("many-messages", "A hundred messages under three topics.", many_messages()),
        case("dead-letter", "A message of the router's own, with the headers it adds.", dead()),
    ]
}

fn one_message() -> Vec<Message> {
    let trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers: [(&str, &[u8]); 2] =
        [("content-type", b"application/json"), ("traceparent", trace)];
    let payload = br#"{"order":4711,"amount":"12.50"}"#;
    vec![message("orders.eu.created", Some("customer-42"), &headers, payload, 1_764_000_000_123)]
}

fn keys() -> Vec<Message> {
    let key = |nth| match nth % 3 {
        0 => Some("customer-42"),
        1 => None,
        _ => Some(""),
    };
    (0..9).map(|nth| message("orders.eu", key(nth), &[], b"x", nth)).collect()
}

fn headers() -> Vec<Message> {
    let longest = "n".repeat(255);
    let with = |headers: &[(&str, &[u8])]| message("with.headers", None, headers, b"", 1);
    vec![
        with(&[]),
        with(&[("repeated", b"first"), ("between", b"-"), ("repeated", b"second")]),
        with(&[("empty", b"")]),
        with(&[("bytes", &[0, 1, 0x7f, 0x80, 0xff])]),
        with(&[(&longest, b"255 bytes of name")]),
        with(&[("!", b"21"), ("~", b"7e")]),
    ]
}

fn most_headers() -> Vec<Message> {
    let names: Vec<String> = (0..64).map(|nth| format!("h{nth}")).collect();
    let headers: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), b"v".as_slice())).collect();
    vec![message("with.headers", None, &headers, b"", 1)]
}

fn topics() -> Vec<Message> {
    let mut longest = vec!["x".repeat(15); 15];
    longest.push("x".repeat(15));
    let longest = longest.join(".");
    assert_eq!(longest.len(), 255, "16 levels of 15 bytes and 15 dots");
    ["a", &longest, "$inbox.a", "Az09_-.-_90zA"]
        .map(|topic| message(topic, None, &[], b"t", 2))
        .to_vec()
}

fn payloads() -> Vec<Message> {
    let every: Vec<u8> = (0..=255).collect();
    vec![
        message("bytes", None, &[], b"", u64::MAX),
        message("bytes", None, &[], &every, 3),
        message("bytes", None, &[], b"last", 4),
    ]
}

fn many_messages() -> Vec<Message> {
    let topics = ["quakes.raw", "quakes.strong", "quakes.felt"];
    (0..100_u64)
        .zip(topics.iter().cycle())
        .map(|(nth, topic)| {
            let key = format!("station-{}", nth % 7);
            let payload = format!("{{\"number\":{nth}}}");
            let headers: [(&str, &[u8]); 1] = [("source", b"usgs")];
            let headers = if nth % 2 == 0 { headers.as_slice() } else { &[] };
            let key = (nth % 5 != 0).then_some(key.as_str());
            message(topic, key, headers, payload.as_bytes(), 1_764_000_000_000 + nth)
        })
        .collect()
}

fn dead() -> Vec<Message> {
    let headers: [(&str, &[u8]); 6] = [
        ("content-type", b"application/json"),
        (dead_letter::REASON, b"PLUGIN_REJECTED"),
        (dead_letter::ERROR, "keine Größe".as_bytes()),
        (dead_letter::TOPIC, b"quakes.raw"),
        (dead_letter::ATTEMPTS, b"1"),
        (dead_letter::ROUTE, b"strong"),
    ];
    vec![message("$dead.strong", Some("station-3"), &headers, b"{}", 1_764_000_000_000)]
}
