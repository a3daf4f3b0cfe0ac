//! The number of the last synced commit, kept apart from the library's files.
//!
//! The file has two slots, at 0 and at 4096, that are written in turn: a torn write leaves the other. A slot
//! is the magic `WPSYNCED`, the number as u64, and the CRC32C of both, little-endian. The writer writes the
//! number before it answers, which is what a kill leaves; a thread of its own syncs the file beside the next
//! commit, so that no commit waits for a second sync. After a loss of power the number may therefore be a
//! commit or two behind the last answer, and never ahead of what was synced.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::CommitNumber;

const MAGIC: &[u8; 8] = b"WPSYNCED";
const SLOT_BYTES: usize = 20;
const SLOTS: [u64; 2] = [0, 4096];

#[derive(Debug)]
pub(super) struct SyncedFile {
    file: File,
}

impl SyncedFile {
    /// Opens the file and reads the larger number; `None` if it is new or neither slot is whole.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<CommitNumber>)> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let number = SLOTS.iter().filter_map(|at| {
            let mut slot = [0; SLOT_BYTES];
            file.read_exact_at(&mut slot, *at).ok()?;
            decode(&slot)
        });
        let number = number.max();
        Ok((Self { file }, number))
    }

    pub(super) fn write(&self, number: CommitNumber) -> io::Result<()> {
        let [even, odd] = SLOTS;
        let at = if number.0.is_multiple_of(2) { even } else { odd };
        self.file.write_all_at(&encode(number), at)
    }

    /// Writes both slots and syncs the file: it says this number, whatever it said before.
    pub(super) fn reset(&self, number: CommitNumber) -> io::Result<()> {
        for at in SLOTS {
            self.file.write_all_at(&encode(number), at)?;
        }
        self.file.sync_all()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(number: CommitNumber) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let content = [&MAGIC[..], &number.0.to_le_bytes()].concat();
    let checksum = crc32c::crc32c(&content).to_le_bytes();
    for (to, from) in slot.iter_mut().zip(content.iter().chain(&checksum)) {
        *to = *from;
    }
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<CommitNumber> {
    let (content, checksum) = slot.split_last_chunk::<4>()?;
    let whole = crc32c::crc32c(content) == u32::from_le_bytes(*checksum);
    let (magic, number) = content.split_first_chunk::<8>()?;
    let number = number.try_into().ok().map(u64::from_le_bytes)?;
    (whole && magic == MAGIC).then_some(CommitNumber(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_number_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("synced");
        let (file, number) = SyncedFile::open(&path).expect("a new file");
        assert_eq!(number, None);
        file.write(CommitNumber(7)).expect("it is writable");
        file.write(CommitNumber(8)).expect("it is writable");
        assert_eq!(SyncedFile::open(&path).expect("it stands").1, Some(CommitNumber(8)));
        file.file.write_all_at(b"torn", 10).expect("it is writable");
        assert_eq!(SyncedFile::open(&path).expect("it stands").1, Some(CommitNumber(7)));
    }

    #[test]
    fn a_reset_file_says_the_smaller_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("synced");
        let (file, _) = SyncedFile::open(&path).expect("a new file");
        file.write(CommitNumber(9)).expect("it is writable");
        file.reset(CommitNumber(4)).expect("it is writable");
        assert_eq!(SyncedFile::open(&path).expect("it stands").1, Some(CommitNumber(4)));
    }
}
