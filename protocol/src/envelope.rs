//! The envelope: what the router knows of a batch, outside the publisher's bytes.

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
        })
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
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let (bytes, checksum) = envelope().encode();
        assert_eq!(Envelope::decode(&bytes, checksum), Ok(envelope()));
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
