//! Arbitrary bytes through the frame decoder, whole and in pieces.
//!
//! What must hold: no panic; how the bytes are cut and when the decoder is polled changes nothing
//! of what comes out; memory stays within the limit of a frame, a prefix and what was pushed; a
//! decoded frame encodes to bytes that decode to the same frame.
#![no_main]
#![forbid(unsafe_code)]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use waypost_protocol::{Frame, FrameDecoder, FrameError, MAX_FRAME_BYTES, PREFIX_BYTES};

type Outcome = (Vec<Frame>, Option<FrameError>);

/// Decides pieces and limits. It is seeded by the input, so that an input is a reproduction, and
/// the test vectors are seeds as they are.
struct Choices(u32);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        // Xorshift, Marsaglia 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % bound.max(1)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(crc32c::crc32c(bytes) | 1);
    let limit = [16, 256, 4096, MAX_FRAME_BYTES][choices.below(4)];
    let expected = whole(bytes, limit);
    assert_eq!(in_pieces(bytes, limit, &mut choices), expected);
    for frame in expected.0 {
        let mut again = BytesMut::new();
        frame.encode(&mut again);
        assert_eq!(whole(&again, MAX_FRAME_BYTES), (vec![frame], None));
    }
});

fn whole(bytes: &[u8], limit: u32) -> Outcome {
    let mut decoder = FrameDecoder::new(limit);
    let mut frames = Vec::new();
    decoder.push(bytes);
    let error = drain(&mut decoder, &mut frames);
    (frames, error)
}

fn in_pieces(bytes: &[u8], limit: u32, choices: &mut Choices) -> Outcome {
    let mut decoder = FrameDecoder::new(limit);
    let (mut frames, mut error) = (Vec::new(), None);
    let largest = [1, 3, 9, 64, 1024][choices.below(5)];
    let (mut rest, mut unpolled, mut most_unpolled) = (bytes, 0, 0);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(choices.below(largest + 1).min(rest.len()));
        decoder.push(piece);
        rest = behind;
        unpolled += piece.len();
        if choices.below(4) == 0 {
            continue;
        }
        let found = drain(&mut decoder, &mut frames);
        assert!(error.is_none() || error == found, "an error stays");
        error = found;
        // The most so far, because memory of a frame that is gone is used again.
        most_unpolled = most_unpolled.max(unpolled);
        let most = limit as usize + PREFIX_BYTES + most_unpolled;
        assert!(decoder.capacity() <= most, "{} over {most}", decoder.capacity());
        unpolled = 0;
    }
    let error = drain(&mut decoder, &mut frames).or(error);
    (frames, error)
}

fn drain(decoder: &mut FrameDecoder, frames: &mut Vec<Frame>) -> Option<FrameError> {
    loop {
        match decoder.poll() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}
