//! The test vectors in `vectors/`: every file there is read, decoded, compared with its description
//! and, when it is valid, encoded again to the same bytes.
//!
//! With `UPDATE_VECTORS=1` the vectors made here that are missing in the folder are written first.
//! One that stands there is never overwritten: what a released version wrote stays readable.
#![forbid(unsafe_code)]

mod batches;
mod envelopes;
mod files;
mod frames;
mod invalid;
mod invalid_batches;
mod raw;

use std::{collections::BTreeSet, sync::Once};

use bytes::{Bytes, BytesMut};
use files::Vector;
use waypost_protocol::{
    Batch, BatchBuilder, Envelope, ErrorCode, FrameDecoder, Limits, MAX_FRAME_BYTES,
};

const FOLDERS: [&str; 6] =
    ["batch", "envelope", "frame", "invalid-batch", "invalid-envelope", "invalid-frame"];

/// Writes what is missing, when that is asked for, before any test reads the folder.
fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            files::write_missing("batch", &batches::cases());
            files::write_missing("envelope", &envelopes::cases());
            files::write_missing("frame", &frames::cases());
            files::write_missing("invalid-batch", &invalid_batches::vectors());
            files::write_missing("invalid-envelope", &invalid::envelopes());
            files::write_missing("invalid-frame", &invalid::frames());
        }
    });
}

fn batch_vectors() -> Vec<Vector<batches::Description>> {
    prepare();
    files::read("batch")
}

#[test]
fn every_file_in_the_folder_is_a_vector_that_a_test_reads() {
    prepare();
    assert_eq!(files::strays(&FOLDERS), Vec::<String>::new());
}

#[test]
fn the_vectors_made_here_stand_in_the_folder_unchanged() {
    prepare();
    files::check_standing("batch", &batches::cases());
    files::check_standing("envelope", &envelopes::cases());
    files::check_standing("frame", &frames::cases());
    files::check_standing("invalid-batch", &invalid_batches::vectors());
    files::check_standing("invalid-envelope", &invalid::envelopes());
    files::check_standing("invalid-frame", &invalid::frames());
}

#[test]
fn a_batch_decodes_to_its_description_and_back_to_its_bytes() {
    for Vector { name, bytes, description } in batch_vectors() {
        let batch = Batch::decode(bytes.clone().into(), &Limits::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(batches::describe(&batch), description.messages, "{name}");
        assert_eq!(batches::build(&description.messages).as_bytes(), &bytes, "{name}");
        let mut builder = BatchBuilder::new();
        batch.iter().for_each(|message| builder.push_view(message).expect("it fitted before"));
        assert_eq!(builder.finish().as_ref(), Some(&batch), "{name}");
    }
}

#[test]
fn the_layout_written_out_naively_gives_the_same_bytes() {
    for Vector { name, bytes, description } in batch_vectors() {
        assert_eq!(raw::RawBatch::of(&description.messages).encode(), bytes, "{name}");
    }
}

#[test]
fn an_envelope_decodes_to_its_description_and_back_to_its_bytes() {
    prepare();
    for Vector { name, bytes, description } in files::read::<envelopes::Description>("envelope") {
        let envelope = Envelope::decode(&bytes, description.crc32c)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(envelopes::describe(&envelope), description.envelope, "{name}");
        assert_eq!(envelope.encode(), (Bytes::from(bytes), description.crc32c), "{name}");
    }
}

#[test]
fn a_frame_decodes_to_its_description_and_back_to_its_bytes() {
    prepare();
    let mut kinds = BTreeSet::new();
    for Vector { name, bytes, description } in files::read::<frames::Description>("frame") {
        let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
        decoder.push(&bytes);
        let frame = decoder
            .poll()
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .unwrap_or_else(|| panic!("{name} is not a whole frame"));
        assert!(!decoder.is_within_frame(), "{name} has bytes behind its frame");
        let (kind, control, batch) = frames::describe(&frame);
        assert_eq!((kind, control), (description.kind.as_str(), description.control), "{name}");
        let expected = description.batch.map(|batch| Bytes::from(files::bytes("batch", &batch)));
        assert_eq!(batch, expected.as_ref(), "{name}");
        let mut again = BytesMut::new();
        frame.encode(&mut again);
        assert_eq!(again, bytes, "{name}");
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 17, "each kind of frame has a vector: {kinds:?}");
}

fn check_codes(found: BTreeSet<ErrorCode>, expected: &[ErrorCode]) {
    assert_eq!(found, expected.iter().copied().collect(), "each code has a vector");
}

#[test]
fn a_batch_that_is_none_gives_its_code() {
    prepare();
    let mut codes = BTreeSet::new();
    for Vector { name, bytes, description } in files::read::<invalid::Description>("invalid-batch")
    {
        let error = Batch::decode(bytes.into(), &description.limits())
            .map_or_else(|error| error, |_| panic!("{name} decodes"));
        assert_eq!(error.code().name(), description.error, "{name}: {error}");
        codes.insert(error.code());
    }
    check_codes(
        codes,
        &[
            ErrorCode::BadBatch,
            ErrorCode::BatchChecksum,
            ErrorCode::BatchVersion,
            ErrorCode::BatchTooLarge,
            ErrorCode::BadTopic,
            ErrorCode::BadUtf8,
            ErrorCode::MessageTooLarge,
            ErrorCode::TooManyHeaders,
        ],
    );
}

#[test]
fn an_invalid_batch_breaks_what_it_is_about_and_nothing_before() {
    for (vector, breach) in invalid_batches::cases() {
        let limits = vector.description.limits();
        let error = Batch::decode(vector.bytes.into(), &limits)
            .map_or_else(|error| error, |_| panic!("{} decodes", vector.name));
        let found = format!("{error:?}");
        assert!(found.starts_with(breach), "{} gives {found}, not {breach}", vector.name);
    }
}

#[test]
fn a_frame_that_is_none_gives_its_code() {
    prepare();
    let mut codes = BTreeSet::new();
    for Vector { name, bytes, description } in files::read::<invalid::Description>("invalid-frame")
    {
        let mut decoder = FrameDecoder::new(description.limits().max_frame_bytes);
        decoder.push(&bytes);
        let error =
            decoder.poll().map_or_else(|error| error, |frame| panic!("{name} gives {frame:?}"));
        assert_eq!(error.code().name(), description.error, "{name}: {error}");
        codes.insert(error.code());
    }
    check_codes(
        codes,
        &[
            ErrorCode::BadFrame,
            ErrorCode::FrameTooLarge,
            ErrorCode::UnknownFrame,
            ErrorCode::BadControl,
        ],
    );
}

#[test]
fn an_envelope_that_is_none_gives_its_code() {
    prepare();
    for Vector { name, bytes, description } in
        files::read::<invalid::EnvelopeDescription>("invalid-envelope")
    {
        let error = Envelope::decode(&bytes, description.crc32c)
            .map_or_else(|error| error, |_| panic!("{name} decodes"));
        assert_eq!(error.code().name(), description.error, "{name}: {error}");
    }
}
