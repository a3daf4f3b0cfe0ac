//! Calls on files: those of the folder meet their fate, and the disk hears of what was done; all others pass.

use std::{
    ffi::OsStr,
    io::IoSlice,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt as _},
    sync::LazyLock,
};

use rustix::{
    fs::{CWD, FileType, SeekFrom},
    io::Errno,
};

use crate::{
    disk,
    plan::{self, Call, Fate},
};

static FOLDER: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
    let folder = std::env::var_os("WAYPOST_FAULT_FOLDER")?;
    Some(folder.into_encoded_bytes())
});

/// The path from the folder, if it is in there or the folder itself.
fn within(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(FOLDER.as_ref()?.as_slice())?;
    match rest {
        [] => Some(rest),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Where a file of the folder stands now, from the folder.
fn place(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    FOLDER.as_ref()?;
    let link = disk::link(fd);
    let path = rustix::fs::readlinkat(CWD, link, Vec::new()).ok()?;
    within(path.as_bytes()).map(<[u8]>::to_vec)
}

/// Whether it is a file of the folder.
fn is_ours(fd: BorrowedFd<'_>) -> bool {
    place(fd).is_some()
}

/// What is left of a write after its fate, and whether the process ends behind it.
fn meet(bytes: &[u8]) -> Result<(&[u8], bool), Errno> {
    let half = || bytes.get(..bytes.len().div_ceil(2)).unwrap_or(bytes);
    match plan::fate(Call::Write) {
        Fate::Pass => Ok((bytes, false)),
        Fate::Fail(error) => Err(error),
        Fate::Short => Ok((half(), false)),
        Fate::Tear => Ok((half(), true)),
        Fate::Kill => plan::die(),
    }
}

/// Writes at a place, or where the file stands.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8], at: Option<u64>) -> Result<usize, Errno> {
    let write = |bytes| match at {
        Some(at) => rustix::io::pwrite(fd, bytes, at),
        None => rustix::io::write(fd, bytes),
    };
    if !is_ours(fd) {
        return write(bytes);
    }
    let (bytes, dies) = meet(bytes)?;
    let written = write(bytes)?;
    if dies {
        plan::die();
    }
    let end = match at {
        Some(at) => at + written as u64,
        None => rustix::fs::seek(fd, SeekFrom::Current(0))?,
    };
    disk::written(fd, end - written as u64..end);
    Ok(written)
}

pub(crate) fn write_parts(fd: BorrowedFd<'_>, parts: &[&[u8]]) -> Result<usize, Errno> {
    if is_ours(fd) {
        let first = parts.iter().find(|part| !part.is_empty());
        return first.map_or(Ok(0), |part| write(fd, part, None));
    }
    let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    rustix::io::writev(fd, &parts)
}

/// Syncs by this call; a disk of our own is the only one that is synced then.
pub(crate) fn sync<'a>(
    fd: BorrowedFd<'a>,
    sync: impl FnOnce(BorrowedFd<'a>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let Some(place) = place(fd) else { return sync(fd) };
    match plan::fate(Call::Sync) {
        Fate::Pass | Fate::Short => {}
        Fate::Fail(error) => return Err(error),
        Fate::Kill | Fate::Tear => plan::die(),
    }
    if !disk::is_kept() {
        return sync(fd);
    }
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    match kind {
        FileType::Directory => disk::sync_folder(fd, &place),
        _ => disk::sync_file(fd),
    }
}

pub(crate) fn truncate(fd: BorrowedFd<'_>, length: u64) -> Result<(), Errno> {
    if !is_ours(fd) {
        return rustix::fs::ftruncate(fd, length);
    }
    allow(Call::Truncate)?;
    let before = u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0);
    rustix::fs::ftruncate(fd, length)?;
    if length < before {
        // Should it grow again, zeros stand there.
        disk::written(fd, length..before);
    }
    Ok(())
}

pub(crate) fn rename(from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    change(Call::Rename, to)?;
    rustix::fs::rename(from, to)?;
    if let (Some(from), Some(to)) = (within(from.as_bytes()), within(to.as_bytes())) {
        disk::renamed(from, to);
    }
    Ok(())
}

/// Lets a call on a path meet its fate, if the path is in the folder.
pub(crate) fn change(call: Call, path: &OsStr) -> Result<(), Errno> {
    if within(path.as_bytes()).is_some() { allow(call) } else { Ok(()) }
}

fn allow(call: Call) -> Result<(), Errno> {
    match plan::fate(call) {
        Fate::Pass | Fate::Short => Ok(()),
        Fate::Fail(error) => Err(error),
        Fate::Kill | Fate::Tear => plan::die(),
    }
}
