//! The value of a batch in the log: the publisher's bytes, unchanged, under an envelope.
//!
//! Numbers are little-endian.
//!
//! | at | size | field |
//! | --- | --- | --- |
//! | 0 | 1 | version, 1 |
//! | 1 | 3 | 0 |
//! | 4 | 4 | length of the envelope |
//! | 8 | 4 | CRC32C of the envelope |
//! | 12 | 4 | CRC32C of the twelve bytes before |
//! | 16 | | the envelope, then the batch, which has a checksum of its own |

use bytes::{BufMut as _, Bytes, BytesMut};
use waypost_core::letter_limits;
use waypost_protocol::{Batch, Envelope, Limits, Offset};

use crate::Stored;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 16;

pub(super) fn encode(stored: &Stored) -> Bytes {
    let (envelope, checksum) = stored.envelope.encode();
    let batch = stored.batch.as_bytes();
    let mut value = BytesMut::with_capacity(HEADER_BYTES + envelope.len() + batch.len());
    value.put_slice(&[VERSION, 0, 0, 0]);
    // An envelope is some hundred bytes.
    value.put_u32_le(u32::try_from(envelope.len()).unwrap_or(u32::MAX));
    value.put_u32_le(checksum);
    value.put_u32_le(crc32c::crc32c(&value));
    value.put_slice(&envelope);
    value.put_slice(batch);
    value.freeze()
}

/// Checks everything again: the disk is not trusted.
pub(super) fn decode(base: Offset, value: &Bytes) -> Result<Stored, String> {
    let short = || "the value is cut short".to_owned();
    let header = value.first_chunk::<HEADER_BYTES>().ok_or_else(short)?;
    let number = |at: usize| {
        let field = header.get(at..).and_then(<[u8]>::first_chunk::<4>);
        field.map_or(0, |field| u32::from_le_bytes(*field))
    };
    let checked = header.get(..12).map_or(0, crc32c::crc32c);
    if checked != number(12) {
        return Err("the header's checksum does not match".to_owned());
    }
    if header.first() != Some(&VERSION) {
        return Err(format!("version {:?} is not known", header.first()));
    }
    let length = usize::try_from(number(4)).unwrap_or(usize::MAX);
    let end = HEADER_BYTES.saturating_add(length);
    let envelope = value.get(HEADER_BYTES..end).ok_or_else(short)?;
    let envelope = Envelope::decode(envelope, number(8)).map_err(|error| error.to_string())?;
    // Dead letters are larger than what made them.
    let batch = Batch::decode(value.slice(end..), &letter_limits(Limits::default()));
    let batch = batch.map_err(|error| error.to_string())?;
    if envelope.base_offset != Some(base) {
        return Err(format!("it is the batch of offset {:?}", envelope.base_offset));
    }
    Ok(Stored { base, envelope, batch })
}

#[cfg(test)]
mod tests {
    use waypost_core::{DeadLetters, Failure, RouteName};
    use waypost_protocol::{BatchBuilder, ErrorCode, HeadersBuilder};

    use super::*;
    use crate::testing::batch;

    fn stored() -> Stored {
        let envelope = Envelope {
            base_offset: Some(Offset(5)),
            ingest_ms: 1_700_000_000_000,
            ..Envelope::default()
        };
        Stored { base: Offset(5), envelope, batch: batch(3, "x") }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_bytes() {
        assert_eq!(decode(Offset(5), &encode(&stored())), Ok(stored()));
    }

    #[test]
    fn any_changed_bit_and_any_missing_byte_is_found() {
        let value = encode(&stored());
        for at in 0..value.len() {
            let mut changed = value.to_vec();
            changed[at] ^= 1 << (at % 8);
            assert!(decode(Offset(5), &changed.into()).is_err(), "byte {at}");
            assert!(decode(Offset(5), &value.slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_dead_letter_of_a_message_at_its_limits_is_read_back() {
        let mut headers = HeadersBuilder::new();
        for _ in 0..Limits::default().max_headers {
            headers.push("h", b"").expect("a header");
        }
        let mut builder = BatchBuilder::new();
        builder.push("a", None, headers.as_bytes(), b"", 0).expect("it is just within");
        let message = builder.finish().expect("one message");
        let route = RouteName::parse("r").expect("a name");
        let mut letters = DeadLetters::new(route, Limits::default());
        let failure = Failure {
            code: ErrorCode::PluginTrap,
            error: "x".repeat(9000),
            stage: None,
            plugin_digest: None,
            attempts: 1,
            first_failure_ms: 0,
            last_failure_ms: 0,
        };
        letters.push(message.get(0).expect("one message"), &failure).expect("it fits");
        let batch = letters.finish().swap_remove(0);
        let stored = Stored { batch, ..stored() };
        assert_eq!(decode(Offset(5), &encode(&stored)), Ok(stored));
    }

    #[test]
    fn a_batch_at_the_wrong_place_is_found() {
        assert!(decode(Offset(6), &encode(&stored())).is_err());
    }
}
