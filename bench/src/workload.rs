//! The messages: each has a key, two headers of usual size, and a JSON object as its payload, so that
//! any plugin can be put in their way. The object holds the message's sequence number, always at the
//! same place: `{"sequence":"00000000000004d2","fill":"..."}`.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use waypost_client::{Batch, BatchBuilder, HeadersBuilder};

use crate::options::Load;

/// Keys repeat after so many messages, as those of customers or devices do.
const KEYS: u64 = 1000;
const HEADERS: [(&str, &[u8]); 2] = [
    ("content-type", b"application/json"),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
];

const BEFORE: &[u8] = br#"{"sequence":""#;
const DIGITS: usize = 16;
const BEHIND: &[u8] = br#"","fill":""#;
const END: &[u8] = br#""}"#;

/// Makes batches, one after the other, without end.
pub(crate) struct Workload {
    topic: String,
    headers: HeadersBuilder,
    payload: Vec<u8>,
    builder: BatchBuilder,
    batch: u32,
    /// The sequence number of the next message: so many were made.
    next: u64,
}

impl Workload {
    pub(crate) fn new(topic: &str, load: &Load) -> anyhow::Result<Self> {
        let mut headers = HeadersBuilder::new();
        for (name, value) in HEADERS {
            headers.push(name, value)?;
        }
        let mut payload = [BEFORE, &[b'0'; DIGITS], BEHIND].concat();
        let fill = (load.size as usize).checked_sub(payload.len() + END.len());
        let fill = fill.context("the payload is too small for its sequence number")?;
        // Not all of one letter, in case anything on the way compresses.
        payload.extend((b'a'..=b'z').cycle().take(fill));
        payload.extend_from_slice(END);
        Ok(Self {
            topic: topic.to_owned(),
            headers,
            payload,
            builder: BatchBuilder::new(),
            batch: load.batch,
            next: 0,
        })
    }

    pub(crate) fn made(&self) -> u64 {
        self.next
    }

    pub(crate) fn next_batch(&mut self) -> anyhow::Result<Batch> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let created_ms = u64::try_from(now.as_millis())?;
        for _ in 0..self.batch {
            if let Some(digits) = self.payload.get_mut(BEFORE.len()..BEFORE.len() + DIGITS) {
                write_digits(self.next, digits);
            }
            let key = key(self.next);
            let headers = self.headers.as_bytes();
            self.builder.push(&self.topic, Some(&key), headers, &self.payload, created_ms)?;
            self.next += 1;
        }
        self.builder.finish().context("a batch has a message at least")
    }
}

/// Eleven bytes, `customer-42` as it were, without the cost of formatting.
fn key(sequence: u64) -> [u8; 11] {
    let mut key = *b"customer000";
    let mut number = sequence % KEYS;
    for digit in key.iter_mut().rev().take(3) {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    key
}

/// Hexadecimal, as wide as the place.
fn write_digits(mut number: u64, place: &mut [u8]) {
    for digit in place.iter_mut().rev() {
        let value = (number & 0xf) as u8;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        number >>= 4;
    }
}

/// The sequence number of a message of this workload.
pub(crate) fn sequence(payload: &[u8]) -> Option<u64> {
    payload.get(BEFORE.len()..BEFORE.len() + DIGITS)?.iter().try_fold(0, |number, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_numbered_and_as_large_as_asked() {
        let load = Load { batch: 3, size: 128, seconds: 1, warm_up: 0 };
        let mut workload = Workload::new("bench.in", &load).expect("it is sound");
        let batches = [workload.next_batch(), workload.next_batch()];
        let batches = batches.map(|batch| batch.expect("it is within the limits"));
        let numbers: Vec<_> = batches
            .iter()
            .flat_map(|batch| batch.iter().map(|message| sequence(message.payload())))
            .collect();
        assert_eq!(numbers, (0..6).map(Some).collect::<Vec<_>>());
        let message = batches[1].get(2).expect("it has three");
        assert_eq!(
            (message.key(), message.payload().len()),
            (Some(b"customer005".as_slice()), 128)
        );
        assert_eq!(message.headers().iter().count(), 2);
        let object: serde_json::Value =
            serde_json::from_slice(message.payload()).expect("it is JSON");
        assert_eq!(object["sequence"], "0000000000000005");
    }

    #[test]
    fn a_sequence_number_of_any_size_is_read_as_it_was_written() {
        let mut payload = [BEFORE, &[b'0'; DIGITS]].concat();
        for number in [0, 9, 10, 0xabc_def0, u64::MAX] {
            write_digits(number, &mut payload[BEFORE.len()..]);
            assert_eq!(sequence(&payload), Some(number));
        }
        assert_eq!(sequence(b"short"), None);
    }
}
