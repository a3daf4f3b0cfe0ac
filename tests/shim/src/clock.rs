//! The clock of the system, which may be off by as many seconds as a file says.

use std::sync::LazyLock;

use rustix::{
    fd::OwnedFd,
    fs::{CWD, Mode, OFlags},
    io::Errno,
    time::{ClockId, Timespec},
};

static OFFSET: LazyLock<Option<OwnedFd>> = LazyLock::new(|| {
    let file = std::env::var_os("WAYPOST_FAULT_CLOCK")?;
    rustix::fs::openat(CWD, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
});

/// The seconds that the clock is off by now.
fn offset() -> i64 {
    let Some(file) = OFFSET.as_ref() else { return 0 };
    let mut text = [0; 24];
    let read = rustix::io::pread(file, &mut text, 0).unwrap_or(0);
    let text = text.get(..read).and_then(|text| std::str::from_utf8(text).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Reads a clock by its number.
pub(crate) fn read(clock: libc::clockid_t) -> Result<Timespec, Errno> {
    let known = match clock {
        libc::CLOCK_REALTIME => ClockId::Realtime,
        libc::CLOCK_REALTIME_COARSE => ClockId::RealtimeCoarse,
        libc::CLOCK_MONOTONIC => ClockId::Monotonic,
        libc::CLOCK_MONOTONIC_COARSE => ClockId::MonotonicCoarse,
        libc::CLOCK_MONOTONIC_RAW => ClockId::MonotonicRaw,
        libc::CLOCK_PROCESS_CPUTIME_ID => ClockId::ProcessCPUTime,
        libc::CLOCK_THREAD_CPUTIME_ID => ClockId::ThreadCPUTime,
        libc::CLOCK_BOOTTIME => ClockId::Boottime,
        _ => return Err(Errno::INVAL),
    };
    let mut time = rustix::time::clock_gettime(known);
    if matches!(known, ClockId::Realtime | ClockId::RealtimeCoarse) {
        time.tv_sec = time.tv_sec.saturating_add(offset());
    }
    Ok(time)
}
