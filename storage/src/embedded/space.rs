//! How much space is free.

use std::{io, path::Path};

/// The bytes that an ordinary process may still write to the file system of a folder.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let told = rustix::fs::statvfs(folder)?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}
