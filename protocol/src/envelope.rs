//! The envelope: what the router knows of a batch, outside the publisher's bytes.

use std::ops::Range;

use bytes::Bytes;
use prost::Message as _;

use crate::{Epoch, ErrorCode, Offset, ProducerId, Sequence, proto};

/// What the router says of a batch that it hands on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The offset of the first message, when a stream is the source.
    pub base_offset: Option<Offset>,
    /// When the router took the batch in, in milliseconds since the Unix epoch.
    pub ingest_ms: u64,
    /// The number of routes that it went through.
    pub hops: u8,
    /// Who published it, when the publisher has an identity.
    pub producer: Option<Producer>,
    /// The last route that it went through; `None` straight from the publisher.
    pub route: Option<String>,
    /// The stages of that route, in order, each with the version that processed the batch.
    pub stages: Vec<StageRun>,
    /// The stream that the offset counts in, when a subscriber is told.
    pub stream: Option<String>,
    /// The partition that it counts in.
    pub partition: u32,
    /// Where each message stands behind the base offset; empty when they stand one after another.
    pub positions: Vec<u32>,
}

/// A publisher's identity and place in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Who.
    pub id: ProducerId,
    /// Which incarnation.
    pub epoch: Epoch,
    /// The sequence of the batch's first message.
    pub first_sequence: Sequence,
}

/// A stage that processed the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRun {
    /// The stage's name in its route.
    pub stage: String,
    /// The plugin's name.
    pub plugin: String,
    /// The version in the plugin's manifest.
    pub version: String,
    /// SHA-256 of the plugin's artefact.
    pub digest: [u8; 32],
}

/// Why bytes are no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The checksum does not match.
    #[error("the envelope's checksum is {found:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// What stands beside the bytes.
        found: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The protobuf message does not decode.
    #[error("the envelope does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A field is out of its range.
    #[error("the envelope's field {0} is out of its range")]
    Field(&'static str),
}

impl EnvelopeError {
    /// The code that a peer is told: the envelope travels in a control part.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::BadControl
    }
}

impl Envelope {
    /// The encoded envelope and its CRC32C.
    #[must_use]
    pub fn encode(&self) -> (Bytes, u32) {
        let encoded = proto::Envelope {
            base_offset: self.base_offset.map(|offset| offset.0),
            ingest_ms: self.ingest_ms,
            hops: self.hops.into(),
            producer: self.producer.map(|producer| proto::Producer {
                id: producer.id.0,
                epoch: producer.epoch.0,
                first_sequence: producer.first_sequence.0,
            }),
            route: self.route.clone().unwrap_or_default(),
            stages: self.stages.iter().map(StageRun::to_proto).collect(),
            stream: self.stream.clone().unwrap_or_default(),
            partition: self.partition,
            positions: self.positions.clone(),
        }
        .encode_to_vec();
        let checksum = crc32c::crc32c(&encoded);
        (encoded.into(), checksum)
    }

    /// Checks and decodes an envelope.
    ///
    /// # Errors
    ///
    /// A wrong checksum, bytes that do not decode, or a field out of its range.
    pub fn decode(bytes: &[u8], checksum: u32) -> Result<Self, EnvelopeError> {
        let computed = crc32c::crc32c(bytes);
        if computed != checksum {
            return Err(EnvelopeError::Checksum { found: checksum, computed });
        }
        let decoded = proto::Envelope::decode(bytes)?;
        Ok(Self {
            base_offset: decoded.base_offset.map(Offset),
            ingest_ms: decoded.ingest_ms,
            hops: u8::try_from(decoded.hops).map_err(|_| EnvelopeError::Field("hops"))?,
            producer: decoded.producer.map(|producer| Producer {
                id: ProducerId(producer.id),
                epoch: Epoch(producer.epoch),
                first_sequence: Sequence(producer.first_sequence),
            }),
            route: Some(decoded.route).filter(|route| !route.is_empty()),
            stages: decoded.stages.into_iter().map(StageRun::of_proto).collect::<Result<_, _>>()?,
            stream: Some(decoded.stream).filter(|stream| !stream.is_empty()),
            partition: decoded.partition,
            positions: decoded.positions,
        })
    }

    /// The offset of the message at a place of the batch, when a stream is the source.
    #[must_use]
    pub fn offset_of(&self, index: usize) -> Option<Offset> {
        let base = self.base_offset?;
        let position = match self.positions.get(index) {
            Some(position) => u64::from(*position),
            None => index as u64,
        };
        Some(Offset(base.0.saturating_add(position)))
    }

    /// What is said of some messages of the batch, in order.
    #[must_use]
    pub fn gather(&self, indices: &[u32]) -> Self {
        let position = |index: &u32| match self.positions.get(*index as usize) {
            Some(position) => *position,
            None => *index,
        };
        Self { positions: indices.iter().map(position).collect(), ..self.clone() }
    }

    /// What is said of neighbouring messages of the batch.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        if self.positions.is_empty() {
            return Self { base_offset: self.offset_of(range.start), ..self.clone() };
        }
        let positions = self.positions.get(range).unwrap_or_default().to_vec();
        Self { positions, ..self.clone() }
    }
}

impl StageRun {
    fn to_proto(&self) -> proto::StageRun {
        proto::StageRun {
            stage: self.stage.clone(),
            plugin: self.plugin.clone(),
            version: self.version.clone(),
            digest: Bytes::copy_from_slice(&self.digest),
        }
    }

    fn of_proto(run: proto::StageRun) -> Result<Self, EnvelopeError> {
        let digest = run.digest.as_ref().try_into().map_err(|_| EnvelopeError::Field("digest"))?;
        Ok(Self { stage: run.stage, plugin: run.plugin, version: run.version, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            base_offset: Some(Offset(0)),
            ingest_ms: 1_700_000_000_000,
            hops: 1,
            producer: None,
            route: Some("quakes".into()),
            stages: vec![StageRun {
                stage: "keep".into(),
                plugin: "filter-json".into(),
                version: "1.2.3".into(),
                digest: [7; 32],
            }],
            ..Envelope::default()
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let (bytes, checksum) = envelope().encode();
        assert_eq!(Envelope::decode(&bytes, checksum), Ok(envelope()));
    }

    #[test]
    fn messages_keep_their_offsets_in_whatever_part_they_go() {
        let whole = Envelope { base_offset: Some(Offset(100)), ..envelope() };
        let offsets = |envelope: &Envelope, count| -> Vec<u64> {
            (0..count)
                .filter_map(|index| envelope.offset_of(index))
                .map(|offset| offset.0)
                .collect()
        };
        assert_eq!(offsets(&whole, 3), [100, 101, 102]);
        assert_eq!(offsets(&whole.part(2..4), 2), [102, 103]);
        let some = whole.gather(&[1, 3, 4]);
        assert_eq!(offsets(&some, 3), [101, 103, 104]);
        assert_eq!(offsets(&some.part(1..3), 2), [103, 104]);
        assert_eq!(offsets(&some.gather(&[0, 2]), 2), [101, 104]);
        assert_eq!(offsets(&Envelope::default(), 1), []);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let (bytes, checksum) = envelope().encode();
        for index in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[index] ^= 1;
            assert!(matches!(
                Envelope::decode(&changed, checksum),
                Err(EnvelopeError::Checksum { .. })
            ));
        }
    }
}
