//! Faults below a program that knows nothing of them: a library that is loaded before the C library, whose functions
//! for files and for the clock it replaces.
//!
//! It acts on files below one folder and lets everything else pass. What it does is said by the environment of
//! the process that it is loaded into:
//!
//! - `WAYPOST_FAULT_FOLDER`: the folder, by its absolute path.
//! - `WAYPOST_FAULT`: what fails, as `plan` has it: `eio:sync:3` fails the third sync.
//! - `WAYPOST_FAULT_DISK`: a folder that is kept as the disk would be after a loss of power, as `disk` has it.
//! - `WAYPOST_FAULT_CLOCK`: a file with a number of seconds that the clock of the system is off by; it may change.
//!
//! This is the one crate that is unsafe by what it is: it exports functions of the C library, which take raw pointers
//! and descriptors from whoever calls them. Each such function turns them into what is safe in its first lines and does
//! the rest by `rustix`, which makes system calls itself: were it to call the C library, it would meet itself.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "functions of the C library take raw pointers")]

mod clock;
mod disk;
mod files;
mod plan;

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_uint},
    os::{
        fd::{BorrowedFd, IntoRawFd as _},
        unix::ffi::OsStrExt as _,
    },
    slice,
};

use libc::{clockid_t, iovec, off_t, size_t, ssize_t, timespec};
use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
};

use crate::plan::Call;

/// What the C library's function would give: a number, or -1 with the error's number set aside.
fn answer<T: TryFrom<i64> + From<i8>>(outcome: Result<i64, Errno>) -> T {
    let value = outcome.unwrap_or_else(|error| {
        // SAFETY: the C library gives each thread a place of its own, which lives as long as the thread.
        unsafe { *libc::__errno_location() = error.raw_os_error() };
        -1
    });
    T::try_from(value).unwrap_or_else(|_| T::from(-1))
}

/// # Safety
///
/// The caller has this descriptor open for as long as it uses what it gets, as its own call promises.
unsafe fn borrow<'a>(fd: c_int) -> Result<BorrowedFd<'a>, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: it is not -1, and the caller says that it is open.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// # Safety
///
/// The pointer is null or leads to a string that ends in a zero and lives on.
unsafe fn path<'a>(path: *const c_char) -> Result<&'a OsStr, Errno> {
    if path.is_null() {
        return Err(Errno::FAULT);
    }
    // SAFETY: the caller says so.
    Ok(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// # Safety
///
/// The pointer leads to so many readable bytes, or there are none.
unsafe fn bytes<'a>(buffer: *const u8, count: size_t) -> &'a [u8] {
    if buffer.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller says so; what one write takes is shorter than `isize::MAX`.
    unsafe { slice::from_raw_parts(buffer, count) }
}

fn count(written: Result<usize, Errno>) -> Result<i64, Errno> {
    written.map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `write(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *const u8, length: size_t) -> ssize_t {
    // SAFETY: what is asked of the caller.
    let (fd, bytes) = unsafe { (borrow(fd), bytes(buffer, length)) };
    answer(fd.and_then(|fd| count(files::write(fd, bytes, None))))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `pwrite(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(
    fd: c_int,
    buffer: *const u8,
    length: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: what is asked of the caller.
    let (fd, bytes) = unsafe { (borrow(fd), bytes(buffer, length)) };
    let at = u64::try_from(at).map_err(|_| Errno::INVAL);
    answer(fd.and_then(|fd| count(files::write(fd, bytes, Some(at?)))))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `pwrite(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    buffer: *const u8,
    length: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: the same function by another name.
    unsafe { pwrite(fd, buffer, length, at) }
}

/// Replaces the C library's function. Files of the folder take the first part alone, as they may.
///
/// # Safety
///
/// As `writev(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, length: c_int) -> ssize_t {
    let length = usize::try_from(length).unwrap_or(0);
    if parts.is_null() || length == 0 {
        return 0;
    }
    // SAFETY: the caller has so many parts there.
    let parts = unsafe { slice::from_raw_parts(parts, length) };
    let parts: Vec<&[u8]> = parts
        .iter()
        // SAFETY: each part is readable, says the caller.
        .map(|part| unsafe { bytes(part.iov_base.cast_const().cast(), part.iov_len) })
        .collect();
    // SAFETY: what is asked of the caller.
    let fd = unsafe { borrow(fd) };
    answer(fd.and_then(|fd| count(files::write_parts(fd, &parts))))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `fsync(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: what is asked of the caller.
    answer(unsafe { borrow(fd) }.and_then(|fd| files::sync(fd, rustix::fs::fsync)).map(|()| 0))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `fdatasync(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: what is asked of the caller.
    answer(unsafe { borrow(fd) }.and_then(|fd| files::sync(fd, rustix::fs::fdatasync)).map(|()| 0))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `ftruncate(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    let length = u64::try_from(length).map_err(|_| Errno::INVAL);
    // SAFETY: what is asked of the caller.
    let fd = unsafe { borrow(fd) };
    answer(fd.and_then(|fd| files::truncate(fd, length?)).map(|()| 0))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `ftruncate(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    // SAFETY: the same function by another name.
    unsafe { ftruncate(fd, length) }
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `unlink(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(file: *const c_char) -> c_int {
    // SAFETY: what is asked of the caller.
    let file = unsafe { path(file) };
    let unlinked = file.and_then(|file| {
        files::change(Call::Unlink, file)?;
        rustix::fs::unlink(file)
    });
    answer(unlinked.map(|()| 0))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `rename(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: what is asked of the caller.
    let (from, to) = unsafe { (path(from), path(to)) };
    let renamed = from.and_then(|from| files::rename(from, to?));
    answer(renamed.map(|()| 0))
}

/// Replaces the C library's function, which takes the mode only with some flags. On the machines that this is for, an
/// argument that was not passed is one that holds anything, and it is looked at with these flags alone.
///
/// # Safety
///
/// As `open(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(file: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    let creates = flags.contains(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
    let mode = if creates { Mode::from_bits_retain(mode) } else { Mode::empty() };
    // SAFETY: what is asked of the caller.
    let file = unsafe { path(file) };
    let opened = file.and_then(|file| {
        if creates || flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) {
            files::change(Call::Open, file)?;
        }
        rustix::fs::openat(CWD, file, flags, mode)
    });
    answer(opened.map(|fd| i64::from(fd.into_raw_fd())))
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `open(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(file: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the same function by another name.
    unsafe { open(file, flags, mode) }
}

/// Replaces the C library's function.
///
/// # Safety
///
/// As `clock_gettime(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let read = clock::read(clock);
    if let (Ok(read), false) = (read, time.is_null()) {
        // SAFETY: the caller has a place for it there.
        unsafe { *time = timespec { tv_sec: read.tv_sec, tv_nsec: read.tv_nsec } };
    }
    answer(read.map(|_| 0))
}
