//! Frames through the codec, whole and in pieces, good and bad.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::MAX_FRAME_BYTES;

fn frames() -> Vec<Frame> {
    let batch = Bytes::from_static(b"not decoded here");
    vec![
        Frame::Hello(Hello { versions: vec![1], client_name: "test".into(), ..Hello::default() }),
        Frame::Welcome(Welcome { version: 1, connection_id: 7, ..Welcome::default() }),
        Frame::Publish(
            Publish { first_sequence: 64, count: 64, ..Publish::default() },
            batch.clone(),
        ),
        Frame::PublishResult(PublishResult {
            first_sequence: 64,
            count: 64,
            outcome: Some(Outcome::Committed(Committed { unrouted: true, ..Default::default() })),
        }),
        Frame::Subscribe(Subscribe {
            pattern: "a.>".into(),
            credit_messages: 1,
            credit_bytes: 1 << 21,
            ..Subscribe::default()
        }),
        Frame::Subscribed(Subscribed { subscription_id: 3, joined: None }),
        Frame::Deliver(
            Deliver {
                envelope: Bytes::from_static(b"e"),
                envelope_crc32c: 1,
                lease: Some(Lease { id: 4, attempts: vec![2], ..Lease::default() }),
            },
            batch,
        ),
        Frame::Credit(Credit { messages: 1, bytes: 2 }),
        Frame::Unsubscribe(Unsubscribe {}),
        Frame::Ping(Ping { nonce: 1 }),
        Frame::Pong(Pong { nonce: 1 }),
        Frame::GoingAway(GoingAway { reason: "restart".into(), deadline_ms: 5 }),
        Frame::error(ErrorCode::SlowConsumer, "took nothing"),
        Frame::OpenProducer(OpenProducer { producer_id: 7, epoch: 1 }),
        Frame::ProducerOpened(ProducerOpened { resumed: true, refused: None }),
        Frame::Acknowledge(Acknowledge {
            request: Some(1),
            settles: vec![Settle { lease: 4, verb: Some(Verb::Ack(true)), ..Settle::default() }],
        }),
        Frame::Acknowledged(Acknowledged { request: Some(1), ..Acknowledged::default() }),
    ]
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    bytes
}

fn decode_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
    let mut found = Vec::new();
    for chunk in bytes.chunks(piece.max(1)) {
        decoder.push(chunk);
        while let Some(frame) = decoder.poll()? {
            found.push(frame);
        }
    }
    Ok(found)
}

#[test]
fn every_kind_comes_back_whole_however_it_is_cut() {
    let bytes = encoded(&frames());
    for piece in [1, 2, 7, 8, 9, 100, bytes.len()] {
        assert_eq!(decode_in_pieces(&bytes, piece), Ok(frames()));
    }
}

fn check_refused(prefix: [u8; 8], expected: FrameError) {
    let mut decoder = FrameDecoder::new(1000);
    decoder.push(&prefix);
    assert_eq!(decoder.poll(), Err(expected.clone()));
    decoder.push(&encoded(&frames()));
    assert_eq!(decoder.poll(), Err(expected), "the framing is lost for good");
}

#[test]
fn a_bad_prefix_is_refused_before_its_body_arrives() {
    check_refused([0, 0, 0, 0, 1, 9, 0, 0], FrameError::Reserved(9));
    check_refused([0, 0, 0, 0, 0, 0, 0, 0], FrameError::UnknownKind(0));
    check_refused([0, 0, 0, 0, 99, 0, 0, 0], FrameError::UnknownKind(99));
    check_refused([233, 3, 0, 0, 1, 0, 0, 0], FrameError::TooLarge { bytes: 1001, limit: 1000 });
    check_refused([1, 0, 0, 0, 1, 0, 2, 0], FrameError::ControlBeyondBody { control: 2, body: 1 });
}

#[test]
fn memory_stays_within_a_frame_a_prefix_and_one_push() {
    let limit = 1000;
    let mut decoder = FrameDecoder::new(limit);
    let batch = Bytes::from(vec![0; limit as usize - 4]);
    let publish =
        Frame::Publish(Publish { first_sequence: 1, count: 1, ..Publish::default() }, batch);
    let bytes = encoded(&vec![publish; 20]);
    for piece in [7, 64, 300, 999, 1500] {
        for chunk in bytes.chunks(piece) {
            decoder.push(chunk);
            while decoder.poll().expect("the frames are sound").is_some() {}
            // The largest push so far, because memory of a frame that is gone is used again.
            assert!(decoder.capacity() <= limit as usize + PREFIX_BYTES + piece, "{piece}");
        }
    }
}

#[test]
fn data_belongs_to_publish_and_deliver_alone() {
    check_refused([0, 0, 0, 0, 3, 0, 0, 0], FrameError::Data { kind: 3, bytes: 0 });
    let mut decoder = FrameDecoder::new(1000);
    decoder.push(&[1, 0, 0, 0, 10, 0, 0, 0, 42]);
    assert_eq!(decoder.poll(), Err(FrameError::Data { kind: 10, bytes: 1 }));
}

#[test]
fn a_control_part_that_is_no_protobuf_is_named() {
    let mut decoder = FrameDecoder::new(1000);
    decoder.push(&[1, 0, 0, 0, 10, 0, 1, 0, 0xff]);
    let error = decoder.poll().expect_err("a lone continuation byte is no field");
    assert_eq!(error.code(), ErrorCode::BadControl);
}

#[test]
fn a_peer_without_limits_accepts_ours() {
    assert_eq!(negotiate(Limits::default(), None), Ok(Limits::default()));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1..50_usize) {
        let _ = decode_in_pieces(&bytes, piece);
    }

    #[test]
    fn no_changed_byte_makes_the_decoder_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = encoded(&frames());
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = decode_in_pieces(&bytes, 16);
    }
}
