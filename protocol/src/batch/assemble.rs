//! A new batch of what other batches hold, written column by column straight into its buffer, whose size is known
//! beforehand.

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};

use super::{
    Batch, Column,
    layout::{CHECKED_FROM, LAYOUT_VERSION, Layout, MAGIC},
};

/// End offsets that are moved at a time.
const MOVED: usize = 64;

/// Neighbouring messages of a batch.
#[derive(Debug, Clone)]
pub(super) struct Run<'a> {
    pub(super) batch: &'a Batch,
    /// Within the batch.
    pub(super) range: Range<usize>,
}

impl Run<'_> {
    /// The bytes that their values have in a column.
    fn region(&self, column: Column<'_>) -> Range<usize> {
        let end = |index| column.end(index).unwrap_or_default() as usize;
        end(self.range.start)..end(self.range.end)
    }

    /// The layout of the batch that they make by themselves.
    pub(super) fn layout(&self) -> Layout {
        Layout {
            count: self.range.len(),
            topics_len: self.region(self.batch.topics()).len(),
            keys_len: self.region(self.batch.keys().column()).len(),
            headers_len: self.region(self.batch.headers()).len(),
            payloads_len: self.region(self.batch.payloads()).len(),
        }
    }
}

/// A batch of these runs, each under this topic if there is one. `None` when they hold nothing, or more than a
/// length can say.
pub(super) fn assemble(runs: &[Run<'_>], topic: Option<&str>) -> Option<Batch> {
    let mut layout = Layout::default();
    for run in runs {
        layout = layout.and(run.layout());
    }
    if let Some(topic) = topic {
        layout.topics_len = topic.len().checked_mul(layout.count)?;
    }
    let mut bytes = begin(layout)?;
    for Run { batch, range } in runs {
        let created = batch.created().bytes().get(range.start * 8..range.end * 8);
        bytes.put_slice(created.unwrap_or_default());
    }
    match topic {
        Some(topic) => put_repeated(&mut bytes, topic.as_bytes(), layout.count),
        None => put_column(&mut bytes, runs, Batch::topics),
    }
    put_bitmap(&mut bytes, runs);
    put_column(&mut bytes, runs, |batch| batch.keys().column());
    put_column(&mut bytes, runs, Batch::headers);
    put_column(&mut bytes, runs, Batch::payloads);
    let batch = seal(bytes, layout, topic.is_some() || have_one_topic(runs))?;
    let single_topic = batch.single_topic || is_repeated(batch.topics(), layout.count);
    Some(Batch { single_topic, ..batch })
}

/// The buffer of a batch with its header, as yet without a checksum. `None` for no message, or for more than a
/// length can say.
pub(super) fn begin(layout: Layout) -> Option<BytesMut> {
    let total = u32::try_from(layout.total()).ok().filter(|_| layout.count > 0)?;
    let mut bytes = BytesMut::with_capacity(total as usize);
    bytes.put_slice(&MAGIC);
    bytes.put_u16_le(LAYOUT_VERSION);
    bytes.put_u16_le(0);
    bytes.put_u32_le(0);
    bytes.put_u32_le(total);
    let Layout { count, topics_len, keys_len, headers_len, payloads_len } = layout;
    for length in [count, topics_len, keys_len, headers_len, payloads_len] {
        bytes.put_u32_le(u32::try_from(length).ok()?);
    }
    Some(bytes)
}

/// The batch, once all columns are written.
pub(super) fn seal(mut bytes: BytesMut, layout: Layout, single_topic: bool) -> Option<Batch> {
    let checksum = crc32c::crc32c(bytes.get(CHECKED_FROM..)?);
    bytes.get_mut(8..CHECKED_FROM)?.copy_from_slice(&checksum.to_le_bytes());
    Some(Batch { bytes: bytes.freeze(), layout, single_topic })
}

/// Whether the first `count` values of a column, which are all, are the same.
pub(super) fn is_repeated(column: Column<'_>, count: usize) -> bool {
    let first = column.get(0).unwrap_or_default();
    // Of equal length they fill the region as repeats of the first.
    column.bytes().len() == first.len() * count
        && column.ends().zip(0..).all(|(end, nth)| end as usize == first.len() * nth)
        && column.bytes().chunks_exact(first.len().max(1)).all(|each| each == first)
}

/// Whether the batches are known to have the same topic throughout.
fn have_one_topic(runs: &[Run<'_>]) -> bool {
    let mut topics = runs.iter().map(|run| run.batch.single_topic());
    let first = topics.next().flatten();
    first.is_some() && topics.all(|topic| topic == first)
}

fn put_repeated(bytes: &mut BytesMut, value: &[u8], count: usize) {
    // The layout's lengths fit u32, so the ends do.
    (0..=count)
        .for_each(|nth| bytes.put_u32_le(u32::try_from(nth * value.len()).unwrap_or(u32::MAX)));
    (0..count).for_each(|_| bytes.put_slice(value));
}

fn put_column<'a>(
    bytes: &mut BytesMut,
    runs: &[Run<'a>],
    column: impl Fn(&'a Batch) -> Column<'a>,
) {
    bytes.put_u32_le(0);
    let mut base = 0_u32;
    for run in runs {
        let column = column(run.batch);
        let first = column.end(run.range.start).unwrap_or_default();
        let ends = column.ends_bytes().get((run.range.start + 1) * 4..(run.range.end + 1) * 4);
        put_moved(bytes, ends.unwrap_or_default(), base.wrapping_sub(first));
        let last = column.end(run.range.end).unwrap_or_default();
        base = base.wrapping_add(last.wrapping_sub(first));
    }
    for run in runs {
        let column = column(run.batch);
        bytes.put_slice(column.bytes().get(run.region(column)).unwrap_or_default());
    }
}

/// Appends end offsets, each moved by so much.
fn put_moved(bytes: &mut BytesMut, ends: &[u8], by: u32) {
    if by == 0 {
        return bytes.put_slice(ends);
    }
    let mut moved = [0; MOVED * 4];
    for ends in ends.chunks(moved.len()) {
        let ends = ends.as_chunks::<4>().0;
        for (to, end) in moved.as_chunks_mut::<4>().0.iter_mut().zip(ends) {
            *to = u32::from_le_bytes(*end).wrapping_add(by).to_le_bytes();
        }
        bytes.put_slice(moved.get(..ends.len() * 4).unwrap_or_default());
    }
}

fn put_bitmap(bytes: &mut BytesMut, runs: &[Run<'_>]) {
    let (mut byte, mut bits) = (0_u8, 0_u32);
    for Run { batch, range } in runs {
        let keys = batch.keys();
        let mut index = range.start;
        if bits == 0 && index.is_multiple_of(8) {
            let whole = range.len() / 8;
            let from = index / 8;
            bytes.put_slice(keys.present().get(from..from + whole).unwrap_or_default());
            index += whole * 8;
        }
        for index in index..range.end {
            byte |= u8::from(keys.is_present(index)) << bits;
            bits += 1;
            if bits == 8 {
                bytes.put_u8(std::mem::take(&mut byte));
                bits = 0;
            }
        }
    }
    if bits > 0 {
        bytes.put_u8(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_length_can_say_is_no_batch() {
        let fits = Layout { count: 1, payloads_len: 1, ..Layout::default() };
        assert!(begin(fits).is_some());
        assert!(begin(Layout::default()).is_none());
        let long = Layout { payloads_len: u32::MAX as usize, ..fits };
        assert!(begin(long).is_none());
        assert!(begin(Layout { count: usize::MAX, ..long }.and(long)).is_none());
    }
}
