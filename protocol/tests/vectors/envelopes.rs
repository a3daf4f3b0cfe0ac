//! Valid envelopes and their description.

use serde::{Deserialize, Serialize};
use waypost_protocol::{Envelope, Epoch, Offset, Producer, ProducerId, Sequence, StageRun};

use crate::files::{Hex, Vector, Wide};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) describes: String,
    /// The checksum that stands beside the envelope.
    pub crc32c: u32,
    pub(crate) envelope: Fields,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fields {
    base_offset: Option<Wide>,
    ingest_ms: Wide,
    hops: u8,
    producer: Option<ProducerFields>,
    route: Option<String>,
    stages: Vec<StageFields>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<SourceFields>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFields {
    stream: String,
    partition: u32,
    positions: Vec<u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProducerFields {
    id: Wide,
    epoch: Wide,
    first_sequence: Wide,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageFields {
    stage: String,
    plugin: String,
    version: String,
    digest: Hex,
}

/// Reads an envelope.
pub(crate) fn describe(envelope: &Envelope) -> Fields {
    Fields {
        base_offset: envelope.base_offset.map(|offset| Wide(offset.0)),
        ingest_ms: Wide(envelope.ingest_ms),
        hops: envelope.hops,
        producer: envelope.producer.map(|producer| ProducerFields {
            id: Wide(producer.id.0),
            epoch: Wide(producer.epoch.0),
            first_sequence: Wide(producer.first_sequence.0),
        }),
        route: envelope.route.clone(),
        stages: envelope
            .stages
            .iter()
            .map(|run| StageFields {
                stage: run.stage.clone(),
                plugin: run.plugin.clone(),
                version: run.version.clone(),
                digest: run.digest.as_slice().into(),
            })
            .collect(),
        source: envelope.stream.clone().map(|stream| SourceFields {
            stream,
            partition: envelope.partition,
            positions: envelope.positions.clone(),
        }),
    }
}

/// The valid envelopes of this version.
pub(crate) fn cases() -> Vec<Vector<Description>> {
    let case = |name: &str, describes: &str, envelope: Envelope| {
        let (bytes, crc32c) = envelope.encode();
        let (describes, envelope) = (describes.to_owned(), describe(&envelope));
        Vector {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
            description: Description { describes, crc32c, envelope },
        }
    };
    vec![
        case("empty", "Every field has its default: no bytes at all.", Envelope::default()),
        case("memory", "A batch straight from a publisher to a memory topic.", straight()),
        case("routed", "A batch out of a route with two stages, over a stream.", routed()),
        case(
            "offset-zero",
            "The offset 0 is present, which is another thing than no offset.",
            Envelope { base_offset: Some(Offset(0)), ..straight() },
        ),
        case(
            "stream",
            "Three messages of a stream's partition that stand at the offsets 70, 72 and 73.",
            Envelope {
                base_offset: Some(Offset(70)),
                stream: Some("orders".to_owned()),
                partition: 3,
                positions: vec![0, 2, 3],
                ..straight()
            },
        ),
        case("largest", "The largest value of every number.", largest()),
    ]
}

fn straight() -> Envelope {
    Envelope { ingest_ms: 1_764_000_000_200, ..Envelope::default() }
}

/// The envelope that the vector of a deliver frame carries.
pub(crate) fn routed() -> Envelope {
    let stage = |stage: &str, plugin: &str, digest| StageRun {
        stage: stage.to_owned(),
        plugin: plugin.to_owned(),
        version: "1.2.3".to_owned(),
        digest: [digest; 32],
    };
    Envelope {
        base_offset: Some(Offset(4_294_967_296)),
        hops: 1,
        producer: Some(Producer {
            id: ProducerId(7),
            epoch: Epoch(2),
            first_sequence: Sequence(640),
        }),
        route: Some("strong".to_owned()),
        stages: vec![stage("keep", "filter-json", 0xa1), stage("shape", "transform-json", 0xb2)],
        ..straight()
    }
}

fn largest() -> Envelope {
    Envelope {
        base_offset: Some(Offset(u64::MAX)),
        ingest_ms: u64::MAX,
        hops: u8::MAX,
        producer: Some(Producer {
            id: ProducerId(u64::MAX),
            epoch: Epoch(u64::MAX),
            first_sequence: Sequence(u64::MAX),
        }),
        ..Envelope::default()
    }
}
