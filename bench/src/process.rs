//! Child processes that are this program again, and speak JSON lines with their parent.
//!
//! A child ends when its parent does, and after ten minutes and a bit in any case: nothing of a
//! measurement is left behind.

use std::{process::Stdio, time::Duration};

use anyhow::Context as _;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child as Process, ChildStdin, ChildStdout, Command},
    sync::mpsc,
};

/// The longest measurement, and what stands around it.
const LONGEST: Duration = Duration::from_secs(600 + 60 + 60);

/// From the last word of a child to its end.
const FAREWELL: Duration = Duration::from_secs(5);

/// A child, as its parent sees it. Dropping it kills the process.
pub(crate) struct Child {
    role: &'static str,
    process: Process,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program with the hidden command of that name.
    pub(crate) fn start(role: &'static str) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program")?;
        let mut process = Command::new(program)
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{role} did not start"))?;
        let input = process.stdin.take().context("a pipe to the child")?;
        let output = process.stdout.take().context("a pipe from the child")?;
        Ok(Self { role, process, input, output: BufReader::new(output).lines() })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().with_context(|| format!("{} has ended", self.role))
    }

    pub(crate) async fn send(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.input.write_all(&line).await.with_context(|| format!("{} has ended", self.role))
    }

    /// Waits until the child has closed its connection and ended.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        let role = self.role;
        let status = tokio::time::timeout(FAREWELL, self.process.wait()).await;
        let status = status.with_context(|| format!("{role} does not end"))??;
        anyhow::ensure!(status.success(), "{role} ended with {status}");
        Ok(())
    }

    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let role = self.role;
        let line = tokio::time::timeout(LONGEST, self.output.next_line()).await;
        let line = line.with_context(|| format!("{role} says nothing"))??;
        let line = line.with_context(|| format!("{role} ended before its time"))?;
        serde_json::from_str(&line).with_context(|| format!("{role} says {line}"))
    }
}

/// The parent, as a child sees it.
pub(crate) struct Parent {
    lines: mpsc::Receiver<String>,
}

impl Parent {
    /// Begins to read what the parent says, on a thread: its blocking read must not hold up the
    /// runtime's end.
    pub(crate) fn new() -> Self {
        let (sender, lines) = mpsc::channel(1);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines }
    }

    /// What the parent says next. Dropping the future loses nothing.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.lines.recv().await.context("the parent has ended")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Whether the parent has said something since; what it said is dropped.
    pub(crate) fn has_spoken(&mut self) -> anyhow::Result<bool> {
        match self.lines.try_recv() {
            Ok(_) => Ok(true),
            Err(mpsc::error::TryRecvError::Empty) => Ok(false),
            Err(error @ mpsc::error::TryRecvError::Disconnected) => Err(error.into()),
        }
    }

    /// Tells the parent something.
    pub(crate) fn send(value: &impl Serialize) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut output = std::io::stdout().lock();
        serde_json::to_writer(&mut output, value)?;
        output.write_all(b"\n")?;
        Ok(output.flush()?)
    }
}

/// Runs a child's part, for so long at most.
pub(crate) async fn bounded(part: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(LONGEST, part).await.context("the measurement took too long")?
}
