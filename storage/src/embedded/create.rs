//! Makes a new store in one step.
//!
//! The library makes its files one after the other, and refuses a folder that has only some of them. A new store is
//! therefore made beside its place, closed, synced with all that is in it, and renamed: a start that ends in the middle
//! leaves nothing that the next one would take for a damaged store.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use super::store::Store;

/// Why a store was not made.
#[derive(Debug)]
pub(super) enum CreateError {
    Io(io::Error),
    Library(fjall::Error),
}

/// Makes the library's folder, unless it is there; one that is empty is taken for none.
pub(super) fn create(path: &Path, cache_bytes: u64) -> Result<(), CreateError> {
    if holds_something(path).map_err(CreateError::Io)? {
        return Ok(());
    }
    let beside = path.with_extension("new");
    if beside.exists() {
        // Nothing was ever stored in it.
        fs::remove_dir_all(&beside).map_err(CreateError::Io)?;
    }
    drop(Store::open(&beside, cache_bytes).map_err(CreateError::Library)?);
    let place = || {
        sync_all(&beside)?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    place().map_err(CreateError::Io)
}

fn holds_something(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Syncs a folder and whatever is in it.
fn sync_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_all(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_start_left_half_made_is_made_anew_and_a_store_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, beside) = (folder.path().join("streams"), folder.path().join("streams.new"));
        fs::create_dir(&path).expect("a folder");
        fs::create_dir(&beside).expect("a folder");
        fs::write(beside.join("0.jnl"), "half").expect("a file");
        create(&path, 1 << 20).expect("it is made");
        assert!(!beside.exists(), "it stands at its place");
        drop(Store::open(&path, 1 << 20).expect("it is whole"));
        fs::write(path.join("own"), "kept").expect("a file");
        create(&path, 1 << 20).expect("it is there");
        assert!(path.join("own").exists(), "it is not made again");
    }
}
