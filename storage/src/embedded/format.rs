//! The version of everything in the folder, in a file of its own that is read before the library opens anything.
//!
//! `format` holds `waypost-storage 1` and the end of the line. A folder without the file was made before there was
//! one, and is of version 1. What a later version writes, an earlier one leaves alone.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use super::OpenError;

const FILE: &str = "format";
const WORD: &str = "waypost-storage ";
/// The version that is written, and the highest that is read.
const VERSION: u32 = 1;

/// Refuses a folder of a later version, and says which one a new folder has.
pub(super) fn check(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(FILE);
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write(folder, &path).map_err(failed);
        }
        Err(error) => return Err(failed(error)),
    };
    let version = text.strip_prefix(WORD).and_then(|rest| rest.trim_end().parse().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => {
            Err(OpenError::Newer { path: folder.to_owned(), found, known: VERSION })
        }
        _ => {
            let what = format!("the file {FILE} should hold {WORD}{VERSION}, and holds {text:?}");
            Err(OpenError::Damaged { path: folder.to_owned(), what })
        }
    }
}

/// Writes the file in one step. The folder itself is synced by whoever opens the store.
fn write(folder: &Path, path: &Path) -> io::Result<()> {
    let beside = folder.join("format.new");
    let mut file = File::create(&beside)?;
    writeln!(file, "{WORD}{VERSION}")?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_says_its_version_and_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        for _ in 0..2 {
            check(folder.path()).expect("it is new, or of this version");
        }
        let text = fs::read_to_string(folder.path().join(FILE)).expect("it is there");
        assert_eq!(text, "waypost-storage 1\n");
        assert_eq!(fs::read_dir(folder.path()).expect("it is a folder").count(), 1);
    }

    #[test]
    fn a_later_version_is_named_and_what_is_none_is_damage() {
        let refused = |text: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join(FILE), text).expect("it is written");
            check(folder.path()).expect_err("it is refused")
        };
        let newer = refused("waypost-storage 2\n");
        assert!(matches!(newer, OpenError::Newer { found: 2, known: 1, .. }), "{newer}");
        assert!(newer.to_string().contains("version 2"), "{newer}");
        for text in ["", "waypost-storage", "waypost-storage 0\n", "waypost-storage x\n", "1\n"] {
            let damaged = refused(text);
            assert!(matches!(damaged, OpenError::Damaged { .. }), "{text:?}: {damaged}");
        }
    }
}
