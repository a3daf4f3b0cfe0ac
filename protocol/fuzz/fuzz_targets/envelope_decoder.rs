//! Arbitrary bytes as an envelope, under the checksum that fits them and under others.
//!
//! What must hold: no panic; another checksum is refused; what is decoded encodes to bytes that decode to
//! the same; whatever part of a batch goes on, its messages keep their offsets.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use waypost_protocol::{Envelope, EnvelopeError};

/// The messages of a batch that the envelope is taken to be of.
const MESSAGES: u32 = 9;

fuzz_target!(|bytes: &[u8]| {
    let computed = crc32c::crc32c(bytes);
    for bit in [0, computed % 32, 31] {
        let found = computed ^ (1 << bit);
        let refused = Err(EnvelopeError::Checksum { found, computed });
        assert_eq!(Envelope::decode(bytes, found), refused);
    }
    let Ok(envelope) = Envelope::decode(bytes, computed) else { return };
    let (again, checksum) = envelope.encode();
    assert_eq!(Envelope::decode(&again, checksum).as_ref(), Ok(&envelope));
    assert_eq!(envelope.encode(), (again, checksum), "an envelope has one encoding");
    check_parts(&envelope);
});

fn check_parts(envelope: &Envelope) {
    let offset_of = |index: u32| envelope.offset_of(index as usize);
    let odd: Vec<u32> = (0..MESSAGES).filter(|index| index % 2 == 1).collect();
    let gathered = envelope.gather(&odd);
    for (place, index) in odd.iter().enumerate() {
        assert_eq!(gathered.offset_of(place), offset_of(*index));
    }
    let part = gathered.part(1..odd.len());
    for (place, index) in odd.iter().skip(1).enumerate() {
        assert_eq!(part.offset_of(place), offset_of(*index));
    }
    for index in [usize::MAX, u32::MAX as usize] {
        assert_eq!(envelope.offset_of(index).is_some(), envelope.base_offset.is_some());
    }
}
