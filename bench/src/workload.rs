//! The messages: each has a key, two headers of usual size, and a JSON object as its payload, so that
//! any plugin can be put in their way. The object holds when the message was due and its number, always at
//! the same places and in the order of their names, in which a plugin that writes the object anew leaves
//! them: `{"due":"0000000a3f5c1d20","number":"00010000000004d2","padding":"..."}`.

use std::{
    num::NonZeroU64,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use waypost_client::{Batch, BatchBuilder, HeadersBuilder};

use crate::load::Load;

/// Keys repeat after so many messages, as those of customers or devices do.
pub(crate) const KEYS: u64 = 1000;
pub(crate) const HEADERS: [(&str, &[u8]); 2] = [
    ("content-type", b"application/json"),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
];

const BEFORE: &[u8] = br#"{"due":""#;
const DIGITS: usize = 16;
const BETWEEN: &[u8] = br#"","number":""#;
const BEHIND: &[u8] = br#"","padding":""#;
const END: &[u8] = br#""}"#;
const DUE: usize = BEFORE.len();
const NUMBER: usize = DUE + DIGITS + BETWEEN.len();

/// What the padding of a marked message ends with. Only a payload with room for it can be marked.
pub(crate) const MARK: &[u8; 5] = b"AGAIN";
/// What the payload of a marked message ends with.
pub(crate) const MARKED_END: &str = "AGAIN\"}";

/// The smallest payload that can be marked.
pub(crate) const LEAST_MARKED_BYTES: u32 = (LEAST_BYTES + MARK.len()) as u32;

/// The smallest payload that holds everything.
pub(crate) const LEAST_BYTES: usize = NUMBER + DIGITS + BEHIND.len() + END.len();

/// The producer's number stands in the upper bits of a message's number.
const PRODUCER_BITS: u32 = 16;
const SEQUENCE_BITS: u32 = u64::BITS - PRODUCER_BITS;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it should have been sent, in [`crate::clock::now`]'s time.
    pub(crate) due: u64,
    pub(crate) producer: u16,
    /// Counted by each producer from 0 on.
    pub(crate) sequence: u64,
}

impl Stamp {
    /// Reads it, if the payload is one of this workload; what stands around the digits tells.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (due, rest) = payload.strip_prefix(BEFORE)?.split_first_chunk()?;
        let (number, rest) = rest.strip_prefix(BETWEEN)?.split_first_chunk()?;
        if !rest.starts_with(b"\"") {
            return None;
        }
        let (due, number) = (read_digits(*due), read_digits(*number));
        let producer = (number >> SEQUENCE_BITS) as u16;
        Some(Self { due, producer, sequence: number & (u64::MAX >> PRODUCER_BITS) })
    }
}

/// One producer's messages, one after the other, without end.
pub(crate) struct Workload {
    topic: String,
    headers: HeadersBuilder,
    payload: Vec<u8>,
    builder: BatchBuilder,
    batch: u32,
    producer: u16,
    /// The sequence number of the next message: so many were made.
    next: u64,
    /// What stands in the payload.
    due: u64,
    is_marked: bool,
    /// What stands before the payload's end in the other kind of message.
    other_end: [u8; MARK.len()],
}

impl Workload {
    pub(crate) fn new(topic: &str, load: &Load, producer: u16) -> anyhow::Result<Self> {
        let mut headers = HeadersBuilder::new();
        for (name, value) in HEADERS {
            headers.push(name, value)?;
        }
        let mut payload = [BEFORE, &[b'0'; DIGITS], BETWEEN, &[b'0'; DIGITS], BEHIND].concat();
        let padding = (load.size as usize).checked_sub(payload.len() + END.len());
        let padding = padding.context("the payload is too small for its numbers")?;
        // Not all of one letter, in case anything on the way compresses.
        payload.extend((b'a'..=b'z').cycle().take(padding));
        payload.extend_from_slice(END);
        Ok(Self {
            topic: topic.to_owned(),
            headers,
            payload,
            builder: BatchBuilder::new(),
            batch: load.batch,
            producer,
            next: 0,
            due: 0,
            is_marked: false,
            other_end: *MARK,
        })
    }

    /// Makes the end of the payload that of a marked message, or of any other.
    fn mark(&mut self, marked: bool) {
        let place = self.payload.len() - END.len() - MARK.len();
        if marked != self.is_marked
            && self.payload.len() >= LEAST_MARKED_BYTES as usize
            && let Some(end) = self.payload.get_mut(place..place + MARK.len())
        {
            end.swap_with_slice(&mut self.other_end);
            self.is_marked = marked;
        }
    }

    pub(crate) fn made(&self) -> u64 {
        self.next
    }

    /// Puts the next message's numbers into the payload.
    pub(crate) fn next_payload(&mut self, due: u64) -> &[u8] {
        if due != self.due
            && let Some(digits) = self.payload.get_mut(DUE..DUE + DIGITS)
        {
            write_digits(due, digits);
            self.due = due;
        }
        let number = u64::from(self.producer) << SEQUENCE_BITS | self.next;
        if let Some(digits) = self.payload.get_mut(NUMBER..NUMBER + DIGITS) {
            write_digits(number, digits);
        }
        self.next += 1;
        &self.payload
    }

    /// The next messages, each of them unmarked.
    pub(crate) fn next_batch(&mut self, due: u64) -> anyhow::Result<Batch> {
        self.next_marked_batch(due, None)
    }

    /// The next messages, every so many-th of which ends with [`MARK`].
    pub(crate) fn next_marked_batch(
        &mut self,
        due: u64,
        every: Option<NonZeroU64>,
    ) -> anyhow::Result<Batch> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let created_ms = u64::try_from(now.as_millis())?;
        for _ in 0..self.batch {
            let key = key(self.next);
            self.mark(every.is_some_and(|every| self.next % every == 0));
            self.next_payload(due);
            let headers = self.headers.as_bytes();
            self.builder.push(&self.topic, Some(&key), headers, &self.payload, created_ms)?;
        }
        self.builder.finish().context("a batch has a message at least")
    }
}

/// Eleven bytes, `customer-42` as it were, without the cost of formatting.
pub(crate) fn key(sequence: u64) -> [u8; 11] {
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

/// All digits at once, since a consumer does this for each message. What is no digit gives some number.
fn read_digits(place: [u8; DIGITS]) -> u64 {
    let digits = u128::from_be_bytes(place);
    let every = |byte: u8| u128::from_be_bytes([byte; DIGITS]);
    // A letter has bit 6, and its lower bits are 9 less than its value.
    let letters = digits >> 6 & every(1);
    let mut number = (digits & every(0xf)) + letters * 9;
    // From a digit in each byte to two, then to four in each pair of bytes, and so on.
    for (shift, mask) in [
        (4, 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff),
        (32, 0x0000_0000_0000_0000_ffff_ffff_ffff_ffff),
    ] {
        number = (number | number >> shift) & mask;
    }
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_numbered_and_as_large_as_asked() {
        let load = Load { batch: 3, size: 128, ..Load::default() };
        let mut workload = Workload::new("bench.in", &load, 7).expect("it is sound");
        let batches = [workload.next_batch(11), workload.next_batch(12)];
        let batches = batches.map(|batch| batch.expect("it is within the limits"));
        let stamps: Vec<_> = batches
            .iter()
            .flat_map(|batch| batch.iter().map(|message| Stamp::read(message.payload())))
            .collect();
        let expected = |sequence| Stamp { due: 11 + sequence / 3, producer: 7, sequence };
        assert_eq!(stamps, (0..6).map(|sequence| Some(expected(sequence))).collect::<Vec<_>>());
        let message = batches[1].get(2).expect("it has three");
        assert_eq!(
            (message.key(), message.payload().len()),
            (Some(b"customer005".as_slice()), 128)
        );
        assert_eq!(message.headers().iter().count(), 2);
        let object: serde_json::Value =
            serde_json::from_slice(message.payload()).expect("it is JSON");
        assert_eq!(object["number"], "0007000000000005");
    }

    #[test]
    fn a_payload_of_the_least_size_holds_its_numbers() {
        let size = u32::try_from(LEAST_BYTES).expect("it is small");
        let mut workload =
            Workload::new("a", &Load { size, ..Load::default() }, 0).expect("it fits");
        assert_eq!(workload.next_payload(5).len(), LEAST_BYTES);
        assert!(Workload::new("a", &Load { size: size - 1, ..Load::default() }, 0).is_err());
    }

    #[test]
    fn marked_messages_differ_from_others_by_their_end() {
        let load = Load { batch: 7, size: 128, ..Load::default() };
        let mut workload = Workload::new("bench.in", &load, 0).expect("it is sound");
        let batch = workload.next_marked_batch(1, NonZeroU64::new(3)).expect("it fits");
        let marked: Vec<_> = batch
            .iter()
            .map(|message| message.payload().ends_with(MARKED_END.as_bytes()))
            .collect();
        assert_eq!(marked, [true, false, false, true, false, false, true]);
        assert!(batch.iter().all(|message| message.payload().len() == 128));
        let unmarked = workload.next_batch(1).expect("it fits");
        assert!(unmarked.iter().all(|message| message.payload().ends_with(b"efghi\"}")));
    }

    #[test]
    fn numbers_of_any_size_are_read_as_they_were_written() {
        let mut place = [0; DIGITS];
        for number in [0, 9, 10, 0xabc_def0, u64::MAX] {
            write_digits(number, &mut place);
            assert_eq!(read_digits(place), number);
        }
        assert_eq!(Stamp::read(b"short"), None);
    }
}
