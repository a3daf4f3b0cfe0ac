//! What fails, and when: `ACTION:CALL:NUMBER`, such as `eio:sync:3`. Pure, but for the counts.
//!
//! | action | what happens at the call of this number, of this kind |
//! | --- | --- |
//! | `eio` | it fails with `EIO`, and does nothing; the next one is made as ever |
//! | `enospc` | it and every later write or making of a file fails with `ENOSPC`: the disk is full |
//! | `erofs` | it and every later change fails with `EROFS`: the file system became read-only |
//! | `short` | it and every later write of more than a byte writes half of what it was given |
//! | `kill` | the process kills itself before it |
//! | `tear` | the process kills itself when half of it is written |

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use rustix::{io::Errno, process};

/// The kinds of calls that change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Write,
    Sync,
    Unlink,
    Rename,
    /// Of a file that is to be written or made.
    Open,
    Truncate,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Fail(Errno),
    /// It writes half.
    Short,
    /// The process ends before it.
    Kill,
    /// The process ends after half of it.
    Tear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Eio,
    Enospc,
    Erofs,
    Short,
    Kill,
    Tear,
}

#[derive(Debug)]
struct Plan {
    action: Action,
    call: Call,
    number: u64,
    /// Calls of the kind so far.
    count: AtomicU64,
}

static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| {
    let text = std::env::var("WAYPOST_FAULT").ok()?;
    // A fault that is not understood must not look like one that was survived.
    Some(Plan::parse(&text).unwrap_or_else(|| panic!("WAYPOST_FAULT: {text:?} is no fault")))
});

/// What becomes of the next call of a kind.
pub(crate) fn fate(call: Call) -> Fate {
    PLAN.as_ref().map_or(Fate::Pass, |plan| plan.fate(call))
}

/// Ends the process as `kill -9` does.
pub(crate) fn die() -> ! {
    // It may always send itself a signal, and does not come back from this one.
    let _ = process::kill_process(process::getpid(), process::Signal::KILL);
    std::process::abort()
}

impl Plan {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(':');
        let action = match words.next()? {
            "eio" => Action::Eio,
            "enospc" => Action::Enospc,
            "erofs" => Action::Erofs,
            "short" => Action::Short,
            "kill" => Action::Kill,
            "tear" => Action::Tear,
            _ => return None,
        };
        let call = match words.next()? {
            "write" => Call::Write,
            "sync" => Call::Sync,
            "unlink" => Call::Unlink,
            "rename" => Call::Rename,
            "open" => Call::Open,
            "truncate" => Call::Truncate,
            _ => return None,
        };
        let number = words.next()?.parse().ok().filter(|number| *number > 0)?;
        words.next().is_none().then_some(Self { action, call, number, count: AtomicU64::new(0) })
    }

    fn fate(&self, call: Call) -> Fate {
        let is_kind = call == self.call;
        let count = match is_kind {
            true => self.count.fetch_add(1, Ordering::Relaxed) + 1,
            false => self.count.load(Ordering::Relaxed),
        };
        let is_now = is_kind && count == self.number;
        let has_begun = count >= self.number;
        match self.action {
            Action::Eio if is_now => Fate::Fail(Errno::IO),
            Action::Kill if is_now => Fate::Kill,
            Action::Tear if is_now => Fate::Tear,
            Action::Short if has_begun && call == Call::Write => Fate::Short,
            Action::Enospc if has_begun && matches!(call, Call::Write | Call::Open) => {
                Fate::Fail(Errno::NOSPC)
            }
            Action::Erofs if has_begun => Fate::Fail(Errno::ROFS),
            _ => Fate::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of some writes with a sync before the last one.
    fn fates(text: &str) -> [Fate; 4] {
        let plan = Plan::parse(text).expect("a fault");
        [Call::Write, Call::Write, Call::Sync, Call::Write].map(|call| plan.fate(call))
    }

    #[test]
    fn each_action_meets_the_calls_that_it_is_for() {
        use Fate::{Fail, Kill, Pass, Short, Tear};
        let (io, full, frozen) = (Fail(Errno::IO), Fail(Errno::NOSPC), Fail(Errno::ROFS));
        for (text, expected) in [
            ("eio:write:2", [Pass, io, Pass, Pass]),
            ("eio:sync:1", [Pass, Pass, io, Pass]),
            ("enospc:write:2", [Pass, full, Pass, full]),
            ("erofs:write:2", [Pass, frozen, frozen, frozen]),
            ("short:write:2", [Pass, Short, Pass, Short]),
            ("kill:write:3", [Pass, Pass, Pass, Kill]),
            ("tear:write:1", [Tear, Pass, Pass, Pass]),
        ] {
            assert_eq!(fates(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_is_none() {
        for text in ["", "eio", "eio:sync", "eio:sync:0", "eio:sync:x", "eio:nap:1", "eio:sync:1:"]
        {
            assert!(Plan::parse(text).is_none(), "{text}");
        }
    }
}
