//! How much space is free, and how much is taken.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// What a block counts in the number that the system tells of a file, whatever the file system's own.
const BLOCK_BYTES: u64 = 512;

/// The bytes that an ordinary process may still write to the file system of a folder.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let told = rustix::fs::statvfs(folder)?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

/// The bytes that a folder and everything below it take on the disk. Journals are allocated ahead and are counted as
/// far as they were written. Files that go away meanwhile are passed over.
pub(super) fn used_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(BLOCK_BYTES));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_folders_below_counts_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).expect("it is made");
        let empty = used_bytes(folder.path()).expect("it is readable");
        fs::write(folder.path().join("one"), [7; 100_000]).expect("it is written");
        fs::write(below.join("two"), [7; 200_000]).expect("it is written");
        let used = used_bytes(folder.path()).expect("it is readable") - empty;
        // Whole blocks.
        assert!((300_000..400_000).contains(&used), "{used}");
        assert_eq!(used_bytes(&folder.path().join("none")).expect("it is nothing"), 0);
    }
}
