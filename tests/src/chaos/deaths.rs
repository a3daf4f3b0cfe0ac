//! How the router dies: at a moment that the seed decides, with or without what was not synced, or of a fault of its disk.

use std::{
    os::unix::process::ExitStatusExt as _, path::PathBuf, process::ExitStatus, time::Duration,
};

use anyhow::ensure;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::producing::Producing;
use crate::Router;

/// How the router dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deaths {
    /// By SIGKILL.
    Kill,
    /// By SIGKILL, and every byte is lost that was not synced. By the library of `tests/shim`.
    PowerCut(PathBuf),
    /// Of a write or a sync that fails, with what is written by then, or by SIGKILL within a write, at a sync, or
    /// where a file is made or goes. By the library of `tests/shim`.
    Fault(PathBuf),
}

/// What becomes of a router that meets a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It ends by itself with the code that says that storage failed.
    Fenced,
    /// The fault itself kills it.
    Killed,
    /// It goes on.
    None,
}

/// Faults, by the call that they meet at the latest, and what becomes of the router.
const FAULTS: [(&str, u32, End); 9] = [
    ("eio:write", 300, End::Fenced),
    ("eio:sync", 150, End::Fenced),
    ("enospc:write", 300, End::Fenced),
    ("erofs:write", 300, End::Fenced),
    ("short:write", 20, End::None),
    ("kill:write", 300, End::Killed),
    ("tear:write", 300, End::Killed),
    ("kill:sync", 150, End::Killed),
    ("kill:open", 4, End::Killed),
];
/// What the router ends with when storage failed.
const STORAGE: i32 = 75;

/// When to do what, as the seed decides.
pub(super) struct Moments(StdRng);

impl Moments {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn up_to(&mut self, most: u64) -> u64 {
        self.0.random_range(1..=most)
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.0.random_ratio(1, many)
    }

    /// Another kind of fault each time, so that few cycles meet them all.
    fn fault(&mut self, cycle: u32) -> (String, End) {
        let index = usize::try_from(cycle).unwrap_or(0) % FAULTS.len();
        let (fault, most, end) = FAULTS[index];
        (format!("{fault}:{}", self.0.random_range(1..=most)), end)
    }
}

impl Deaths {
    /// What they are called in reports.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerCut(_) => "power-cut",
            Self::Fault(_) => "fault",
        }
    }

    /// The library that they need.
    pub(super) fn library(&self) -> Option<&PathBuf> {
        match self {
            Self::Kill => None,
            Self::PowerCut(library) | Self::Fault(library) => Some(library),
        }
    }

    /// Lets the router die at some moment of a cycle, sometimes twice, and sometimes the producer with it. It
    /// is left dead, and the producer waits for it.
    pub(super) async fn die(
        &self,
        router: &mut Router,
        producing: &mut Producing,
        moments: &mut Moments,
        cycle: u32,
    ) -> anyhow::Result<()> {
        producing.more(moments.up_to(40)).await?;
        if let Self::Fault(_) = self {
            self.fail(router, moments, cycle).await?;
        }
        tokio::time::sleep(Duration::from_micros(moments.up_to(30_000))).await;
        let producer_dies = moments.one_in(4);
        let producer_first = moments.one_in(2);
        if producer_dies && producer_first {
            producing.kill().await?;
        }
        self.kill(router).await?;
        if producer_dies && !producer_first {
            producing.kill().await?;
        }
        if moments.one_in(6) {
            router.restart_for(Duration::from_micros(moments.up_to(300_000))).await?;
            self.kill(router).await?;
        }
        if producer_dies {
            producing.revive(router)?;
        }
        Ok(())
    }

    async fn kill(&self, router: &mut Router) -> anyhow::Result<()> {
        match self {
            Self::Kill | Self::Fault(_) => router.kill().await,
            Self::PowerCut(_) => router.cut_power().await,
        }
    }

    /// Starts the router anew with a fault, and looks at what becomes of it.
    async fn fail(
        &self,
        router: &mut Router,
        moments: &mut Moments,
        cycle: u32,
    ) -> anyhow::Result<()> {
        let (fault, end) = moments.fault(cycle);
        router.fail(Some(fault.clone()))?;
        match end {
            End::None => router.restart().await?,
            End::Fenced | End::Killed => {
                let status = router.restart_until_end().await?;
                let expected = match end {
                    End::Killed => ExitStatus::from_raw(9),
                    End::Fenced | End::None => ExitStatus::from_raw(STORAGE << 8),
                };
                ensure!(status == expected, "after {fault} the router ended with {status}");
            }
        }
        router.fail(None)
    }
}
