//! The batch layout of `docs/protocol.md` written out naively, with every field open to be wrong.

use crate::batches::Message;

pub(crate) struct RawBatch {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u16,
    pub(crate) flags: u16,
    /// What the header says instead of what is right.
    pub(crate) checksum: Option<u32>,
    pub(crate) length: Option<u32>,
    pub(crate) count: u32,
    pub(crate) created: Vec<u64>,
    pub(crate) topics: RawColumn,
    pub(crate) key_bitmap: Vec<u8>,
    pub(crate) keys: RawColumn,
    pub(crate) headers: RawColumn,
    pub(crate) payloads: RawColumn,
}

pub(crate) struct RawColumn {
    pub(crate) ends: Vec<u32>,
    pub(crate) region: Vec<u8>,
    /// What the header says of the region's length.
    pub(crate) length: u32,
}

impl RawColumn {
    pub(crate) fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut ends, mut region) = (vec![0], Vec::new());
        for value in values {
            region.extend_from_slice(value);
            ends.push(size(&region));
        }
        Self { ends, length: size(&region), region }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for end in &self.ends {
            out.extend_from_slice(&end.to_le_bytes());
        }
        out.extend_from_slice(&self.region);
    }
}

impl RawBatch {
    pub(crate) fn of(messages: &[Message]) -> Self {
        let key = |message: &Message| message.key.clone().map(|key| key.0);
        let keys: Vec<_> = messages.iter().map(key).collect();
        let headers: Vec<_> = messages.iter().map(encoded_headers).collect();
        let mut key_bitmap = vec![0; messages.len().div_ceil(8)];
        for (index, _) in keys.iter().enumerate().filter(|(_, key)| key.is_some()) {
            key_bitmap[index / 8] |= 1 << (index % 8);
        }
        Self {
            magic: *b"WPBT",
            version: 1,
            flags: 0,
            checksum: None,
            length: None,
            count: u32::try_from(messages.len()).expect("few messages"),
            created: messages.iter().map(|message| message.created_ms.0).collect(),
            topics: RawColumn::of(messages.iter().map(|message| message.topic.as_bytes())),
            key_bitmap,
            keys: RawColumn::of(keys.iter().map(|key| key.as_deref().unwrap_or_default())),
            headers: RawColumn::of(headers.iter().map(Vec::as_slice)),
            payloads: RawColumn::of(messages.iter().map(|message| message.payload.0.as_slice())),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut checked = Vec::new();
        checked.extend_from_slice(&[0; 4]);
        checked.extend_from_slice(&self.count.to_le_bytes());
        for column in [&self.topics, &self.keys, &self.headers, &self.payloads] {
            checked.extend_from_slice(&column.length.to_le_bytes());
        }
        for created in &self.created {
            checked.extend_from_slice(&created.to_le_bytes());
        }
        self.topics.write(&mut checked);
        checked.extend_from_slice(&self.key_bitmap);
        self.keys.write(&mut checked);
        self.headers.write(&mut checked);
        self.payloads.write(&mut checked);
        let length = self.length.unwrap_or_else(|| size(&checked) + 12);
        checked[..4].copy_from_slice(&length.to_le_bytes());

        let checksum = self.checksum.unwrap_or_else(|| crc32c::crc32c(&checked));
        let mut bytes = self.magic.to_vec();
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&checked);
        bytes
    }
}

fn encoded_headers(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    for header in &message.headers {
        bytes.push(u8::try_from(header.name.len()).expect("a short name"));
        bytes.extend_from_slice(header.name.as_bytes());
        let length = u16::try_from(header.value.0.len()).expect("a short value");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&header.value.0);
    }
    bytes
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a vector is small")
}
