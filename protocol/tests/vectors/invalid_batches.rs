//! Batches that are none, each with one thing wrong under a right checksum.

use waypost_protocol::{ErrorCode, Limits};

use crate::{
    batches::{Message, message},
    files::Vector,
    invalid::Description,
    raw::{RawBatch, RawColumn},
};

type Case = (Vector<Description>, &'static str);
/// Picks one of the columns of variable length.
type Pick = fn(&mut RawBatch) -> &mut RawColumn;

/// What the cases below spoil: three messages, each value of two bytes at least.
fn sound() -> RawBatch {
    let header: [(&str, &[u8]); 1] = [("trace", b"1")];
    let messages: [Message; 3] = ["orders.eu", "orders.us", "orders.asia"]
        .map(|topic| message(topic, Some("customer"), &header, b"payload", 7));
    RawBatch::of(&messages)
}

/// A case under the default limits.
fn case(
    name: &str,
    describes: &str,
    code: ErrorCode,
    breach: &'static str,
    bytes: Vec<u8>,
) -> Case {
    limited(name, describes, code, breach, Limits::default(), bytes)
}

fn limited(
    name: &str,
    describes: &str,
    code: ErrorCode,
    breach: &'static str,
    limits: Limits,
    bytes: Vec<u8>,
) -> Case {
    let description = Description::new(describes, limits, code);
    (Vector { name: name.to_owned(), bytes, description }, breach)
}

/// The sound batch with something changed, its checksum computed afterwards.
fn spoilt(change: impl FnOnce(&mut RawBatch)) -> Vec<u8> {
    let mut batch = sound();
    change(&mut batch);
    batch.encode()
}

/// The vectors of this version.
pub(crate) fn vectors() -> Vec<Vector<Description>> {
    cases().into_iter().map(|(vector, _)| vector).collect()
}

/// Each vector with the name of the breach that it is about.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = header_cases();
    cases.extend(length_cases());
    let columns: [(&str, Pick); 4] = [
        ("topics", |batch| &mut batch.topics),
        ("keys", |batch| &mut batch.keys),
        ("headers", |batch| &mut batch.headers),
        ("payloads", |batch| &mut batch.payloads),
    ];
    cases.extend(columns.into_iter().flat_map(|(column, pick)| offset_cases(column, pick)));
    cases.extend(key_cases());
    cases.extend(topic_cases());
    cases.extend(header_run_cases());
    cases.extend(limit_cases());
    cases
}

fn header_cases() -> Vec<Case> {
    let (bad, version) = (ErrorCode::BadBatch, ErrorCode::BatchVersion);
    let checksum = ErrorCode::BatchChecksum;
    let mut flipped = sound().encode();
    if let Some(last) = flipped.last_mut() {
        *last ^= 1;
    }
    vec![
        case("no-bytes", "Nothing at all.", bad, "Truncated", Vec::new()),
        case("magic", "Another magic.", bad, "BadMagic", spoilt(|b| b.magic = *b"WPBX")),
        case("version-zero", "There is no layout version 0.", version, "UnknownVersion", {
            spoilt(|b| b.version = 0)
        }),
        case("version-unknown", "A layout version of the future.", version, "UnknownVersion", {
            spoilt(|b| b.version = u16::MAX)
        }),
        case("flags", "A flag that version 1 does not define.", bad, "UnknownFlags", {
            spoilt(|b| b.flags = 1)
        }),
        case("checksum", "The checksum field is wrong.", checksum, "Checksum", {
            spoilt(|b| b.checksum = Some(0x1234_5678))
        }),
        case("changed-bit", "The last bit of the last payload changed.", checksum, "Checksum", {
            flipped
        }),
    ]
}

fn length_cases() -> Vec<Case> {
    let bad = ErrorCode::BadBatch;
    let whole = sound().encode();
    let length = whole.len();
    let cut = |at: usize| whole[..at].to_vec();
    let trailing = [whole.as_slice(), b"!"].concat();
    let one_more = u32::try_from(length + 1).expect("it is small");
    vec![
        case("cut-in-header", "20 of the header's 36 bytes.", bad, "Truncated", cut(20)),
        case("cut-behind-header", "The header alone.", bad, "BadLength", cut(36)),
        case("cut-at-the-end", "The last byte is missing.", bad, "BadLength", cut(length - 1)),
        case("trailing-byte", "A byte behind the end.", bad, "BadLength", trailing),
        case(
            "trailing-byte-counted",
            "A byte that the length counts, in no part.",
            bad,
            "BadLength",
            {
                let mut bytes = spoilt(|b| b.length = Some(one_more));
                bytes.push(b'!');
                let checksum = crc32c::crc32c(&bytes[12..]);
                bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
                bytes
            },
        ),
        case("length", "The length field is one too large.", bad, "BadLength", {
            spoilt(|b| b.length = Some(one_more))
        }),
        case("region-length", "The payloads' length is one too large.", bad, "BadLength", {
            spoilt(|b| b.payloads.length += 1)
        }),
        case("region-length-largest", "All lengths are 2^32 - 1.", bad, "BadLength", {
            spoilt(|b| {
                b.length = Some(u32::MAX);
                b.count = u32::MAX;
                for column in [&mut b.topics, &mut b.keys, &mut b.headers, &mut b.payloads] {
                    column.length = u32::MAX;
                }
            })
        }),
        case("count", "One message more than the columns have.", bad, "BadLength", {
            spoilt(|b| b.count += 1)
        }),
        case("count-zero", "No message.", bad, "Empty", RawBatch::of(&[]).encode()),
    ]
}

fn offset_cases(column: &str, pick: Pick) -> Vec<Case> {
    let case = |what: &str, describes: &str, change: fn(&mut RawColumn)| {
        let name = format!("{column}-{what}");
        let describes = format!("{column}: {describes}");
        let bytes = spoilt(|batch| change(pick(batch)));
        case(&name, &describes, ErrorCode::BadBatch, "BadEnds", bytes)
    };
    vec![
        case("offsets-not-from-zero", "the first end offset is 1.", |c| c.ends[0] = 1),
        case("offsets-decrease", "the third end offset is less than the second.", |c| {
            c.ends[2] = c.ends[1] - 1;
        }),
        case("last-offset-short", "the last end offset is one less than the region.", |c| {
            c.ends[3] -= 1;
        }),
        case("last-offset-beyond", "the last end offset is one more than the region.", |c| {
            c.ends[3] += 1;
        }),
    ]
}

fn key_cases() -> Vec<Case> {
    let (bad, breach) = (ErrorCode::BadBatch, "BadKeyBitmap");
    vec![
        case("bitmap-unused-bit", "The bit behind the last message's is set.", bad, breach, {
            spoilt(|b| b.key_bitmap[0] |= 1 << 3)
        }),
        case("bitmap-last-bit", "The last bit of the byte is set.", bad, breach, {
            spoilt(|b| b.key_bitmap[0] |= 1 << 7)
        }),
        case("key-absent-with-value", "A message without a key has bytes there.", bad, breach, {
            spoilt(|b| b.key_bitmap[0] &= !(1 << 1))
        }),
    ]
}

fn topic_cases() -> Vec<Case> {
    let case = |name: &str, describes: &str, topic: &[u8]| {
        let bytes = spoilt(|b| b.topics = RawColumn::of([b"orders.eu", topic, b"orders.eu"]));
        case(name, describes, ErrorCode::BadTopic, "Topic", bytes)
    };
    vec![
        case("topic-empty", "A topic has no bytes.", b""),
        case("topic-empty-level", "Two dots in a row.", b"orders..eu"),
        case("topic-dot-first", "A dot at the beginning.", b".orders"),
        case("topic-dot-last", "A dot at the end.", b"orders."),
        case("topic-space", "A space.", b"orders eu"),
        case("topic-wildcard", "A wildcard belongs into a pattern.", b"orders.*"),
        case("topic-dollar-alone", "A first level of $ alone.", b"$"),
        case("topic-dollar-later", "A later level begins with $.", b"orders.$eu"),
        case("topic-not-ascii", "A letter that is not ASCII.", "orders.köln".as_bytes()),
        case("topic-not-utf8", "A byte that is not UTF-8.", b"orders.\xff"),
        case("topic-too-long", "256 bytes.", &[b'x'; 256]),
        case("topic-too-many-levels", "17 levels.", ["x"; 17].join(".").as_bytes()),
    ]
}

fn header_run_cases() -> Vec<Case> {
    let case = |name: &str, describes: &str, code, run: &[u8]| {
        let bytes = spoilt(|b| b.headers = RawColumn::of([b"", run, b""]));
        case(name, describes, code, "Header", bytes)
    };
    let (name, cut) = (ErrorCode::BadUtf8, ErrorCode::BadBatch);
    vec![
        case("header-name-empty", "A name of no bytes.", name, b"\x00\x01\x00v"),
        case("header-name-space", "A name with a space.", name, b"\x03a b\x01\x00v"),
        case("header-name-control", "A name with a control character.", name, b"\x01\x7f\x00\x00"),
        case("header-name-not-ascii", "A name in UTF-8.", name, b"\x02\xc3\xb6\x01\x00v"),
        case("header-cut-in-name", "The name is cut.", cut, b"\x05trac"),
        case("header-cut-in-length", "The value's length is cut.", cut, b"\x05trace\x01"),
        case("header-cut-in-value", "The value is cut.", cut, b"\x05trace\x02\x00v"),
        case("header-trailing-byte", "A byte behind a whole header.", cut, b"\x01n\x00\x00\x07"),
    ]
}

fn limit_cases() -> Vec<Case> {
    let names: Vec<String> = (0..65).map(|nth| format!("h{nth}")).collect();
    let headers: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), [].as_slice())).collect();
    let of = |messages: &[Message]| RawBatch::of(messages).encode();
    let default = Limits::default();
    let two = vec![message("a", None, &[], b"", 0); 2];
    // A topic of one byte and a payload: one byte over the limits below.
    let payload = |bytes: usize| message("a", None, &[], &vec![b'x'; bytes], 0);
    vec![
        case("too-many-headers", "65 headers.", ErrorCode::TooManyHeaders, "TooManyHeaders", {
            of(&[message("a", None, &headers, b"", 0)])
        }),
        limited(
            "too-many-messages",
            "Two messages where one is agreed.",
            ErrorCode::BatchTooLarge,
            "TooManyMessages",
            Limits { max_batch_messages: 1, ..default },
            of(&two),
        ),
        limited(
            "too-many-bytes",
            "A batch one byte larger than the agreed frame.",
            ErrorCode::BatchTooLarge,
            "TooManyBytes",
            Limits { max_frame_bytes: 4096, ..default },
            of(&[payload(4096 - 78 + 1)]),
        ),
        limited(
            "message-too-large",
            "A message one byte larger than agreed.",
            ErrorCode::MessageTooLarge,
            "MessageTooLarge",
            Limits { max_message_bytes: 1024, ..default },
            of(&[payload(1024)]),
        ),
    ]
}
