//! Borrowed columns: what a plugin is handed, and what a message's view reads.

/// A value of variable length for each message.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    ends: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Column<'a> {
    pub(super) fn new(ends: &'a [u8], bytes: &'a [u8]) -> Self {
        Self { ends, bytes }
    }

    /// The end offsets as they stand in the batch: `count + 1` little-endian u32, the first 0.
    #[must_use]
    pub fn ends_bytes(&self) -> &'a [u8] {
        self.ends
    }

    /// The region that the offsets point into.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// End offset `index`; the value of message `i` lies between those of `i` and `i + 1`.
    #[must_use]
    pub fn end(&self, index: usize) -> Option<u32> {
        let bytes = self.ends.get(index.checked_mul(4)?..)?;
        bytes.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
    }

    /// The value of one message.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = (self.end(index)?, self.end(index + 1)?);
        self.bytes.get(start as usize..end as usize)
    }

    /// Replaces what is in `ends` by the end offsets.
    pub fn ends_to_vec(&self, ends: &mut Vec<u32>) {
        ends.clear();
        ends.extend(offsets(self.ends));
    }

    /// The end offsets in order.
    pub(super) fn ends(&self) -> impl Iterator<Item = u32> + use<'a> {
        offsets(self.ends)
    }
}

fn offsets(bytes: &[u8]) -> impl Iterator<Item = u32> + use<'_> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk))
}

/// A key for some of the messages.
#[derive(Debug, Clone, Copy)]
pub struct KeyColumn<'a> {
    present: &'a [u8],
    column: Column<'a>,
}

impl<'a> KeyColumn<'a> {
    pub(super) fn new(present: &'a [u8], column: Column<'a>) -> Self {
        Self { present, column }
    }

    /// Bit `i % 8` of byte `i / 8` is set when message `i` has a key.
    #[must_use]
    pub fn present(&self) -> &'a [u8] {
        self.present
    }

    /// The values; a message without a key has an empty one.
    #[must_use]
    pub fn column(&self) -> Column<'a> {
        self.column
    }

    /// Whether a message has a key.
    #[must_use]
    pub fn is_present(&self, index: usize) -> bool {
        self.present.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// The key of one message, if it has one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        if self.is_present(index) { self.column.get(index) } else { None }
    }
}

/// When the publisher made each message.
#[derive(Debug, Clone, Copy)]
pub struct CreatedColumn<'a> {
    bytes: &'a [u8],
}

impl<'a> CreatedColumn<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The column as it stands in the batch: little-endian u64.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Milliseconds since the Unix epoch for one message.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u64> {
        let bytes = self.bytes.get(index.checked_mul(8)?..)?;
        bytes.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
    }

    /// The times in order, in milliseconds since the Unix epoch.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk))
    }
}
