//! Frames and envelopes that are none, each with one thing wrong, and the code that they give.

use serde::{Deserialize, Serialize};
use waypost_protocol::{Envelope, ErrorCode, Limits, MAX_FRAME_BYTES};

use crate::{envelopes, files::Vector};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) describes: String,
    /// What was agreed; the bytes may be valid under larger limits.
    limits: LimitsFields,
    /// The name of the error code.
    pub(crate) error: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFields {
    max_frame_bytes: u32,
    max_batch_messages: u32,
    max_message_bytes: u32,
    max_headers: u16,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvelopeDescription {
    pub(crate) describes: String,
    /// The checksum that stands beside the bytes.
    pub crc32c: u32,
    pub(crate) error: String,
}

impl Description {
    pub(crate) fn new(describes: &str, limits: Limits, error: ErrorCode) -> Self {
        let limits = LimitsFields {
            max_frame_bytes: limits.max_frame_bytes,
            max_batch_messages: limits.max_batch_messages,
            max_message_bytes: limits.max_message_bytes,
            max_headers: limits.max_headers,
        };
        Self { describes: describes.to_owned(), limits, error: error.name().to_owned() }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_frame_bytes: self.limits.max_frame_bytes,
            max_batch_messages: self.limits.max_batch_messages,
            max_message_bytes: self.limits.max_message_bytes,
            max_headers: self.limits.max_headers,
        }
    }
}

fn prefix(body: u32, kind: u8, reserved: u8, control: u16) -> Vec<u8> {
    let mut bytes = body.to_le_bytes().to_vec();
    bytes.extend([kind, reserved]);
    bytes.extend(control.to_le_bytes());
    bytes
}

fn whole(kind: u8, control: &[u8], data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(control.len()).expect("a short control part");
    let body = u32::try_from(control.len() + data.len()).expect("a short body");
    [&prefix(body, kind, 0, length), control, data].concat()
}

/// Frames that are none. Where the prefix alone is wrong, nothing stands behind it: it is refused
/// before its body arrives.
pub(crate) fn frames() -> Vec<Vector<Description>> {
    let case = |name: &str, describes: &str, error, bytes: Vec<u8>| Vector {
        name: name.to_owned(),
        bytes,
        description: Description::new(describes, Limits::default(), error),
    };
    let largest = MAX_FRAME_BYTES;
    let bad = ErrorCode::BadFrame;
    let control = ErrorCode::BadControl;
    vec![
        case("reserved-byte", "The reserved byte is 1.", bad, prefix(0, 9, 1, 0)),
        case("control-beyond-body", "The control part outgrows the body.", bad, prefix(1, 9, 0, 2)),
        case("too-large", "One byte over the limit.", ErrorCode::FrameTooLarge, {
            prefix(largest + 1, 3, 0, 2)
        }),
        case("kind-zero", "Kind 0 is not known.", ErrorCode::UnknownFrame, prefix(0, 0, 0, 0)),
        case(
            "kind-unknown",
            "Kind 200 is not known.",
            ErrorCode::UnknownFrame,
            prefix(0, 200, 0, 0),
        ),
        case("data-behind-ping", "A ping carries no batch.", bad, whole(10, &[8, 1], b"data")),
        case(
            "data-behind-unsubscribe",
            "An unsubscribe carries no batch.",
            bad,
            whole(9, &[], b"d"),
        ),
        case("publish-without-batch", "A publish needs a batch.", bad, whole(3, &[16, 1], &[])),
        case("deliver-without-batch", "A deliver needs a batch.", bad, whole(7, &[], &[])),
        case("field-cut", "The varint of a ping's nonce is cut.", control, {
            whole(10, &[8, 0xff], &[])
        }),
        case("text-cut", "An error's text is shorter than it says.", control, {
            whole(13, &[18, 5, b'a'], &[])
        }),
        case("text-not-utf8", "A subscribe's pattern is not UTF-8.", control, {
            whole(5, &[10, 2, 0xc3, 0x28], &[])
        }),
        case("field-of-other-type", "A ping's nonce is a text.", control, {
            whole(10, &[10, 1, b'a'], &[])
        }),
    ]
}

/// Envelopes that are none.
pub(crate) fn envelopes() -> Vec<Vector<EnvelopeDescription>> {
    let case = |name: &str, describes: &str, bytes: Vec<u8>, crc32c: u32| Vector {
        name: name.to_owned(),
        bytes,
        description: EnvelopeDescription {
            describes: describes.to_owned(),
            crc32c,
            error: ErrorCode::BadControl.name().to_owned(),
        },
    };
    let sound = |name: &str, describes: &str, bytes: &[u8]| {
        case(name, describes, bytes.to_vec(), crc32c::crc32c(bytes))
    };
    let (routed, checksum): (_, u32) = Envelope::encode(&envelopes::routed());
    let mut changed = routed.to_vec();
    changed[3] ^= 1;
    vec![
        case("checksum", "The checksum is off by one.", routed.to_vec(), checksum ^ 1),
        case("changed-bit", "One bit changed on its way.", changed, checksum),
        sound("cut", "The protobuf message is cut within a field.", &routed[..routed.len() - 1]),
        sound("too-many-hops", "256 hops do not fit a byte.", &[24, 0x80, 2]),
        sound("short-digest", "A digest of one byte instead of 32.", &[50, 3, 34, 1, 0xa1]),
    ]
}
