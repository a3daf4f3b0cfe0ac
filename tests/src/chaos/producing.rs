//! The producer's processes, one after the other, as who kills them sees them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::Notify,
};

use super::{PATIENCE, journal::Journal};
use crate::Router;

pub(super) struct Producing {
    binary: PathBuf,
    seed: u64,
    folder: TempDir,
    child: Child,
    /// It publishes until this is closed.
    input: ChildStdin,
    progress: Arc<Progress>,
    lives: u32,
}

/// How many messages are known to be stored.
#[derive(Default)]
struct Progress {
    acked: AtomicU64,
    more: Notify,
}

impl Producing {
    pub(super) async fn start(binary: &Path, router: &Router, seed: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let progress = Arc::new(Progress::default());
        let (child, input) = spawn(binary, &folder, router, seed, progress.clone())?;
        Ok(Self { binary: binary.to_owned(), seed, folder, child, input, progress, lives: 1 })
    }

    /// Waits until so many more are stored.
    pub(super) async fn more(&mut self, count: u64) -> anyhow::Result<()> {
        let least = self.progress.acked.load(Ordering::Relaxed) + count;
        while self.progress.acked.load(Ordering::Relaxed) < least {
            tokio::select! {
                () = self.progress.more.notified() => {}
                ended = self.child.wait() => anyhow::bail!("the producer ended: {}", ended?),
            }
        }
        Ok(())
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Begins the next life.
    pub(super) fn revive(&mut self, router: &Router) -> anyhow::Result<()> {
        (self.child, self.input) =
            spawn(&self.binary, &self.folder, router, self.seed, self.progress.clone())?;
        self.lives += 1;
        Ok(())
    }

    /// Ends it in good order. Gives what it was told is stored, what it sent, and how many lives it had.
    pub(super) async fn finish(mut self) -> anyhow::Result<(BTreeSet<u64>, BTreeSet<u64>, u32)> {
        drop(self.input);
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.context("the producer does not get its last results")??;
        ensure!(ended.success(), "the producer ended with {ended}");
        let journal = Journal::load(&journal_of(&self.folder))?;
        ensure!(journal.open().is_empty(), "without a result: {:?}", journal.open());
        Ok((journal.acked, journal.sent, self.lives))
    }
}

fn journal_of(folder: &TempDir) -> PathBuf {
    folder.path().join("journal")
}

fn spawn(
    binary: &Path,
    folder: &TempDir,
    router: &Router,
    seed: u64,
    progress: Arc<Progress>,
) -> anyhow::Result<(Child, ChildStdin)> {
    let mut child = Command::new(binary)
        .arg("produce")
        .arg("--address")
        .arg(router.listen().to_string())
        .arg("--ca")
        .arg(router.ca())
        .arg("--journal")
        .arg(journal_of(folder))
        .arg("--seed")
        .arg(seed.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| binary.display().to_string())?;
    let output = child.stdout.take().context("it was asked for")?;
    // Whoever waits for the child would close it otherwise.
    let input = child.stdin.take().context("it was asked for")?;
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(_)) = lines.next_line().await {
            progress.acked.fetch_add(1, Ordering::Relaxed);
            progress.more.notify_one();
        }
    });
    Ok((child, input))
}
