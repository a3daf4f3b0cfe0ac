//! A disk that loses whatever was not synced: a folder that a loss of power would leave.
//!
//! `data/` holds a file for each file of the folder, by its inode and the time of its making, since an inode is given
//! out anew; it has what was in the file when it was synced last. `tree/` holds the names: links to those, as the folders
//! were when each was synced last. Which bytes were written since is kept in memory: the first sync of a file by a process
//! takes all of it.
//!
//! A new folder is found again once it was synced itself, as on most file systems; a new file only once its folder was.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    ops::Range,
    os::fd::BorrowedFd,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, SeekFrom, StatxFlags},
    io::Errno,
};

static DISK: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("WAYPOST_FAULT_DISK").map(PathBuf::from));
/// What was written to each file since it was synced, of those that this process synced before.
static UNSYNCED: LazyLock<Mutex<HashMap<String, Vec<Range<u64>>>>> = LazyLock::new(Mutex::default);
/// The names on the disk are written by one thread at a time.
static NAMES: Mutex<()> = Mutex::new(());
/// Where folders come from that were renamed, by where they stand now, until the folder around them is synced.
static RENAMED: LazyLock<Mutex<HashMap<PathBuf, PathBuf>>> = LazyLock::new(Mutex::default);
const CHUNK: u64 = 1 << 20;

/// Whether there is such a disk.
pub(crate) fn is_kept() -> bool {
    DISK.is_some()
}

/// A path that leads to an open file, whatever its name.
pub(crate) fn link(fd: BorrowedFd<'_>) -> String {
    use rustix::fd::AsRawFd as _;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// What a file is called in `data/`.
fn identity(fd: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<String, Errno> {
    let told = rustix::fs::statx(fd, name, flags, StatxFlags::INO | StatxFlags::BTIME)?;
    Ok(format!("{}-{}.{:09}", told.stx_ino, told.stx_btime.tv_sec, told.stx_btime.tv_nsec))
}

fn identity_of(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    identity(fd, OsStr::new(""), AtFlags::EMPTY_PATH)
}

/// Takes note of bytes that a loss of power would lose.
pub(crate) fn written(fd: BorrowedFd<'_>, range: Range<u64>) {
    if is_kept()
        && let Ok(identity) = identity_of(fd)
    {
        let mut unsynced = UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner);
        match unsynced.get_mut(&identity).map(|ranges| (ranges.last_mut(), range)) {
            // Most files are written from the beginning to the end.
            Some((Some(last), range)) if last.end == range.start => last.end = range.end,
            Some((_, range)) => unsynced.entry(identity).or_default().push(range),
            // Its first sync takes all of it.
            None => {}
        }
    }
}

fn make(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::from_bits_retain(0o600))
}

/// What is in the file now is on disk.
pub(crate) fn sync_file(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(disk) = DISK.as_ref() else { return Ok(()) };
    let identity = identity_of(fd)?;
    let mut unsynced = UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner);
    let ranges = unsynced.insert(identity.clone(), Vec::new());
    drop(unsynced);
    // The caller may have opened it for writing alone.
    let source =
        rustix::fs::openat(CWD, link(fd), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let copy = make(&disk.join("data").join(identity))?;
    let length = u64::try_from(rustix::fs::fstat(&source)?.st_size).unwrap_or(0);
    // An earlier process may have written to it.
    let (ranges, is_first) = match ranges {
        Some(ranges) => (ranges, false),
        None => (written_ranges(&source)?, true),
    };
    rustix::fs::ftruncate(&copy, length)?;
    if is_first {
        // The process may be killed here as well: what was synced before must stand throughout.
        punch_holes(&copy, &ranges, length)?;
    }
    let mut buffer = Vec::new();
    for Range { start, end } in ranges {
        let (mut at, end) = (start, end.min(length));
        while at < end {
            buffer.resize(usize::try_from((end - at).min(CHUNK)).unwrap_or(0), 0);
            let read = rustix::io::pread(&source, &mut buffer[..], at)?;
            let mut rest = buffer.get(..read).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            while !rest.is_empty() {
                let written = rustix::io::pwrite(&copy, rest, at)?;
                at += written as u64;
                rest = rest.get(written..).unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Wherever something was ever written: files are made long before they are full.
fn written_ranges(file: &OwnedFd) -> Result<Vec<Range<u64>>, Errno> {
    let (mut ranges, mut at) = (Vec::new(), 0);
    loop {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(ranges),
            start => start?,
        };
        at = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        ranges.push(start..at);
    }
}

/// Nothing stands between these ranges.
fn punch_holes(file: &OwnedFd, ranges: &[Range<u64>], length: u64) -> Result<(), Errno> {
    let starts = ranges.iter().map(|range| range.start).chain([length]);
    let ends = [0].into_iter().chain(ranges.iter().map(|range| range.end));
    for (from, to) in ends.zip(starts).filter(|(from, to)| from < to) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(file, flags, from, to - from)?;
    }
    Ok(())
}

/// The names in the folder are on disk.
pub(crate) fn sync_folder(fd: BorrowedFd<'_>, place: &[u8]) -> Result<(), Errno> {
    let Some(disk) = DISK.as_ref() else { return Ok(()) };
    let _alone = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = disk.join("tree").join(OsStr::from_bytes(place));
    make_folders(&disk.join("tree"), place)?;
    let mut kept = HashSet::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let there = names.join(name);
        match entry.file_type() {
            FileType::Directory => {
                let mut renamed = RENAMED.lock().unwrap_or_else(PoisonError::into_inner);
                match renamed.remove(&there) {
                    Some(from) => rustix::fs::rename(from, &there)?,
                    None => make_folder(&there)?,
                }
            }
            FileType::RegularFile => {
                // It may have gone since.
                let Ok(identity) = identity(fd, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                let data = disk.join("data").join(identity);
                make(&data)?;
                let beside = disk.join("link");
                let _ = rustix::fs::unlink(&beside);
                rustix::fs::link(&data, &beside)?;
                rustix::fs::rename(&beside, &there)?;
            }
            _ => {}
        }
        kept.insert(name.to_owned());
    }
    let listed = rustix::fs::openat(CWD, &names, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in Dir::read_from(&listed)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if entry.file_type() == FileType::RegularFile && !kept.contains(name) {
            rustix::fs::unlink(names.join(name))?;
        }
    }
    Ok(())
}

/// A folder has another name, with all that is in it; what becomes of a file shows when its folder is synced.
pub(crate) fn renamed(from: &[u8], to: &[u8]) {
    let Some(tree) = DISK.as_ref().map(|disk| disk.join("tree")) else { return };
    let from = tree.join(OsStr::from_bytes(from));
    if from.is_dir() {
        let mut renamed = RENAMED.lock().unwrap_or_else(PoisonError::into_inner);
        renamed.insert(tree.join(OsStr::from_bytes(to)), from);
    }
}

fn make_folders(root: &Path, place: &[u8]) -> Result<(), Errno> {
    let mut path = root.to_owned();
    for name in place.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        path.push(OsStr::from_bytes(name));
        make_folder(&path)?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::from_bits_retain(0o700)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}
