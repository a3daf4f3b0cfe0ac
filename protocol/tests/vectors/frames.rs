//! A valid frame of each kind and its description.

mod groups;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use waypost_protocol::{
    ErrorCode, Frame, Limits,
    frame::{
        Committed, Credit, Deliver, GoingAway, Hello, Join, OpenProducer, Outcome, Ping, Pong,
        Position, ProducerOpened, Publish, PublishResult, ReadFrom, Rejected, Start, Stream,
        Subscribe, Subscribed, Unsubscribe, Welcome,
    },
};

use crate::{batches, envelopes, files::Vector};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) describes: String,
    pub(crate) kind: String,
    /// The fields of the protobuf message, by their names in `waypost.proto`.
    pub(crate) control: Value,
    /// The vector in `batch` whose bytes follow the control part.
    pub(crate) batch: Option<String>,
}

/// Reads a frame: its kind, its control part and the batch behind it.
pub(crate) fn describe(frame: &Frame) -> (&'static str, Value, Option<&Bytes>) {
    match frame {
        Frame::Hello(hello) => ("hello", hello_fields(hello), None),
        Frame::Welcome(welcome) => ("welcome", welcome_fields(welcome), None),
        Frame::Publish(publish, batch) => {
            let mut fields = json!({
                "first_sequence": publish.first_sequence.to_string(),
                "count": publish.count,
            });
            if !publish.stream.is_empty() {
                let sequence = publish.producer_sequence.map(|sequence| sequence.to_string());
                fields["stream"] = publish.stream.clone().into();
                fields["partition"] = publish.partition.into();
                fields["producer_sequence"] = sequence.into();
            }
            ("publish", fields, Some(batch))
        }
        Frame::PublishResult(result) => ("publish_result", result_fields(result), None),
        Frame::Subscribe(subscribe) => {
            let mut fields = json!({
                "pattern": subscribe.pattern,
                "credit_messages": subscribe.credit_messages.to_string(),
                "credit_bytes": subscribe.credit_bytes.to_string(),
            });
            if let Some(from) = &subscribe.from {
                fields["from"] = from_fields(from);
            }
            if let Some(Join { group, member, max_in_flight }) = &subscribe.join {
                fields["join"] =
                    json!({ "group": group, "member": member, "max_in_flight": max_in_flight });
            }
            ("subscribe", fields, None)
        }
        Frame::Subscribed(subscribed) => {
            let id = subscribed.subscription_id.to_string();
            let mut fields = json!({ "subscription_id": id });
            if let Some(joined) = &subscribed.joined {
                fields["joined"] = json!({
                    "lease_ms": joined.lease_ms.to_string(),
                    "max_in_flight": joined.max_in_flight,
                    "takes_rejects": joined.takes_rejects,
                });
            }
            ("subscribed", fields, None)
        }
        Frame::Deliver(deliver, batch) => {
            let mut fields = json!({
                "envelope": hex::encode(&deliver.envelope),
                "envelope_crc32c": deliver.envelope_crc32c,
            });
            if let Some(lease) = &deliver.lease {
                fields["lease"] = json!({
                    "id": lease.id.to_string(),
                    "duration_ms": lease.duration_ms.to_string(),
                    "base": lease.base.to_string(),
                    "positions": lease.positions,
                    "attempts": lease.attempts,
                });
            }
            ("deliver", fields, Some(batch))
        }
        Frame::Credit(credit) => {
            let fields = json!({
                "messages": credit.messages.to_string(),
                "bytes": credit.bytes.to_string(),
            });
            ("credit", fields, None)
        }
        Frame::Unsubscribe(Unsubscribe {}) => ("unsubscribe", json!({}), None),
        Frame::Ping(ping) => ("ping", json!({ "nonce": ping.nonce.to_string() }), None),
        Frame::Pong(pong) => ("pong", json!({ "nonce": pong.nonce.to_string() }), None),
        Frame::GoingAway(away) => {
            let fields = json!({ "reason": away.reason, "deadline_ms": away.deadline_ms });
            ("going_away", fields, None)
        }
        Frame::OpenProducer(open) => {
            let fields = json!({
                "producer_id": open.producer_id.to_string(),
                "epoch": open.epoch.to_string(),
            });
            ("open_producer", fields, None)
        }
        Frame::ProducerOpened(opened) => {
            ("producer_opened", json!({ "resumed": opened.resumed }), None)
        }
        Frame::Acknowledge(acknowledge) => ("acknowledge", groups::asked(acknowledge), None),
        Frame::Acknowledged(answer) => ("acknowledged", groups::answered(answer), None),
        Frame::Error(error) => {
            ("error", json!({ "code": error.code, "message": error.message }), None)
        }
    }
}

/// The limits of hello or welcome; a macro because the generated message has no public name.
macro_rules! limits_fields {
    ($frame:ident) => {
        $frame.limits.as_ref().map(|limits| {
            json!({
                "max_frame_bytes": limits.max_frame_bytes,
                "max_batch_messages": limits.max_batch_messages,
                "max_message_bytes": limits.max_message_bytes,
                "max_headers": limits.max_headers,
            })
        })
    };
}

fn from_fields(from: &ReadFrom) -> Value {
    let start = from.start.as_ref().map(|start| match start {
        Start::Beginning(beginning) => json!({ "beginning": beginning }),
        Start::Offset(offset) => json!({ "offset": offset.to_string() }),
        Start::TimeMs(time) => json!({ "time_ms": time.to_string() }),
    });
    let position = |position: &Position| {
        json!({
            "stream": position.stream,
            "partition": position.partition,
            "offset": position.offset.to_string(),
        })
    };
    let positions: Value = from.positions.iter().map(position).collect();
    json!({ "start": start, "partition": from.partition, "positions": positions })
}

fn hello_fields(hello: &Hello) -> Value {
    json!({
        "versions": hello.versions,
        "limits": limits_fields!(hello),
        "client_name": hello.client_name,
        "client_version": hello.client_version,
        "token": hex::encode(&hello.token),
    })
}

fn welcome_fields(welcome: &Welcome) -> Value {
    let mut fields = json!({
        "version": welcome.version,
        "limits": limits_fields!(welcome),
        "router_name": welcome.router_name,
        "router_version": welcome.router_version,
        "connection_id": welcome.connection_id.to_string(),
        "key_hash": welcome.key_hash,
        "idle_timeout_ms": welcome.idle_timeout_ms,
    });
    if !welcome.streams.is_empty() {
        let stream = |stream: &Stream| {
            json!({
                "name": stream.name,
                "topics": stream.topics,
                "partitions": stream.partitions,
            })
        };
        fields["streams"] = welcome.streams.iter().map(stream).collect();
    }
    fields
}

fn result_fields(result: &PublishResult) -> Value {
    let outcome = match &result.outcome {
        None => Value::Null,
        Some(Outcome::Committed(committed)) => json!({ "committed": {
            "offset": committed.offset.map(|offset| offset.to_string()),
            "duplicate": committed.duplicate,
            "unrouted": committed.unrouted,
        }}),
        Some(Outcome::Rejected(rejected)) => json!({ "rejected": {
            "code": rejected.code,
            "message": rejected.message,
        }}),
    };
    json!({
        "first_sequence": result.first_sequence.to_string(),
        "count": result.count,
        "outcome": outcome,
    })
}

fn batch_vector(name: &str) -> Bytes {
    let vector = batches::cases().into_iter().find(|vector| vector.name == name);
    vector.expect("there is a batch of this name").bytes.into()
}

fn committed(offset: Option<u64>, duplicate: bool, unrouted: bool) -> Frame {
    let outcome = Some(Outcome::Committed(Committed { offset, duplicate, unrouted }));
    Frame::PublishResult(PublishResult { first_sequence: 64, count: 64, outcome })
}

/// The valid frames of this version.
pub(crate) fn cases() -> Vec<Vector<Description>> {
    let case = |name: &str, describes: &str, batch: Option<&str>, frame: Frame| {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        let (kind, control, _) = describe(&frame);
        Vector {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
            description: Description {
                describes: describes.to_owned(),
                kind: kind.to_owned(),
                control,
                batch: batch.map(str::to_owned),
            },
        }
    };
    let mut cases = vec![
        case("hello", "A client with limits, a name and a token.", None, hello()),
        case(
            "hello-bare",
            "A client that names nothing but the version it speaks.",
            None,
            Frame::Hello(Hello { versions: vec![1], ..Hello::default() }),
        ),
        case("welcome", "The router's answer.", None, welcome()),
        case("welcome-streams", "A router that keeps streams.", None, welcome_with_streams()),
        case(
            "publish",
            "The first batch of a publish stream.",
            Some("one-message"),
            Frame::Publish(
                Publish { first_sequence: 0, count: 1, ..Publish::default() },
                batch_vector("one-message"),
            ),
        ),
        case(
            "publish-later",
            "A hundred messages from sequence 2^32 on.",
            Some("many-messages"),
            Frame::Publish(
                Publish { first_sequence: 1 << 32, count: 100, ..Publish::default() },
                batch_vector("many-messages"),
            ),
        ),
        case(
            "publish-stream",
            "A batch for a partition of a stream, from the 641st message of its producer there.",
            Some("one-message"),
            Frame::Publish(
                Publish {
                    first_sequence: 64,
                    count: 1,
                    stream: "orders".to_owned(),
                    partition: 3,
                    producer_sequence: Some(640),
                },
                batch_vector("one-message"),
            ),
        ),
        case(
            "publish-stream-without-producer",
            "A batch for the first partition of a stream, of nobody that could send it again.",
            Some("one-message"),
            Frame::Publish(
                Publish {
                    first_sequence: 0,
                    count: 1,
                    stream: "orders".to_owned(),
                    ..Publish::default()
                },
                batch_vector("one-message"),
            ),
        ),
        case(
            "open-producer",
            "A producer in its third life.",
            None,
            Frame::OpenProducer(OpenProducer { producer_id: u64::MAX, epoch: 2 }),
        ),
        case(
            "producer-opened",
            "It goes on.",
            None,
            Frame::ProducerOpened(ProducerOpened { resumed: true, refused: None }),
        ),
        case("committed", "Committed on memory topics.", None, committed(None, false, false)),
        case(
            "committed-unrouted",
            "Committed; some message matched no route and no subscription.",
            None,
            committed(None, false, true),
        ),
        case(
            "committed-stream",
            "Committed to a stream: the first message has offset 0.",
            None,
            committed(Some(0), false, false),
        ),
        case(
            "committed-twice",
            "Committed to a stream before, at offset 9: a duplicate.",
            None,
            committed(Some(9), true, false),
        ),
        case("rejected", "Rejected with a code: certainly not stored.", None, rejected()),
    ];
    cases.extend([
        case("subscribe", "A pattern with credit.", None, subscribe()),
        case(
            "subscribe-from-beginning",
            "All that the streams of a pattern hold, and then what comes.",
            None,
            subscribe_from(ReadFrom { start: Some(Start::Beginning(true)), ..ReadFrom::default() }),
        ),
        case(
            "subscribe-again",
            "From a time on, where the first of two partitions was read up to an offset.",
            None,
            subscribe_from(ReadFrom {
                start: Some(Start::TimeMs(1_764_000_000_000)),
                positions: vec![Position { stream: "quakes".to_owned(), partition: 0, offset: 70 }],
                ..ReadFrom::default()
            }),
        ),
        case(
            "subscribed",
            "The router's answer to subscribe.",
            None,
            Frame::Subscribed(Subscribed { subscription_id: 3, joined: None }),
        ),
        case("deliver", "A batch beside its envelope.", Some("keys"), deliver()),
        case(
            "credit",
            "More credit.",
            None,
            Frame::Credit(Credit { messages: 1000, bytes: 1 << 33 }),
        ),
        case("unsubscribe", "A frame without a body.", None, Frame::Unsubscribe(Unsubscribe {})),
        case("ping", "The largest nonce.", None, Frame::Ping(Ping { nonce: u64::MAX })),
        case(
            "pong",
            "The answer to ping, with its nonce.",
            None,
            Frame::Pong(Pong { nonce: u64::MAX }),
        ),
        case("going-away", "The router stops.", None, going_away()),
        case(
            "error",
            "Why the conversation ends.",
            None,
            Frame::error(ErrorCode::SlowConsumer, "nothing was taken for 5 s"),
        ),
    ]);
    let of_groups = groups::frames();
    cases.extend(
        of_groups.map(|(name, describes, batch, frame)| case(name, describes, batch, frame)),
    );
    cases
}

fn hello() -> Frame {
    Frame::Hello(Hello {
        versions: vec![1, 2],
        limits: Some(Limits::default().into()),
        client_name: "vectors".to_owned(),
        client_version: "0.1.0".to_owned(),
        token: Bytes::from_static(b"\x00secret\xff"),
    })
}

fn welcome() -> Frame {
    Frame::Welcome(Welcome {
        version: 1,
        limits: Some(Limits { max_frame_bytes: 1 << 20, ..Limits::default() }.into()),
        router_name: "waypost".to_owned(),
        router_version: "0.1.0".to_owned(),
        connection_id: 7,
        key_hash: "xxh3".to_owned(),
        idle_timeout_ms: 30_000,
        streams: Vec::new(),
    })
}

fn welcome_with_streams() -> Frame {
    let Frame::Welcome(welcome) = welcome() else { unreachable!("it is one") };
    let stream = |name: &str, topics: &[&str], partitions| Stream {
        name: name.to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        partitions,
    };
    let streams = vec![
        stream("orders", &["orders.>", "refunds.*"], 12),
        stream("audit", &["audit.logins"], 1),
    ];
    Frame::Welcome(Welcome { streams, ..welcome })
}

fn rejected() -> Frame {
    let code = ErrorCode::SystemTopic;
    let rejected = Rejected { code: code.number(), message: code.meaning().to_owned() };
    let outcome = Some(Outcome::Rejected(rejected));
    Frame::PublishResult(PublishResult { first_sequence: 0, count: 1, outcome })
}

fn subscribe() -> Frame {
    let pattern = "quakes.*.>".to_owned();
    Frame::Subscribe(Subscribe {
        pattern,
        credit_messages: 4096,
        credit_bytes: 16 << 20,
        ..Subscribe::default()
    })
}

fn subscribe_from(from: ReadFrom) -> Frame {
    let Frame::Subscribe(subscribe) = subscribe() else { unreachable!("it is one") };
    Frame::Subscribe(Subscribe { from: Some(from), ..subscribe })
}

fn deliver() -> Frame {
    let (envelope, envelope_crc32c) = envelopes::routed().encode();
    Frame::Deliver(Deliver { envelope, envelope_crc32c, lease: None }, batch_vector("keys"))
}

fn going_away() -> Frame {
    Frame::GoingAway(GoingAway { reason: "a new version".to_owned(), deadline_ms: 10_000 })
}
