//! Child processes that are this program again, and speak JSON lines with their parent.
//!
//! A child ends when its parent does, and after ten minutes and a bit in any case: nothing of a
//! measurement is left behind.

use std::{fmt, path::PathBuf, process::Stdio, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child as Process, ChildStdin, ChildStdout, Command},
    sync::mpsc,
};

use crate::measure::Event;

/// The longest measurement, and what stands around it.
const LONGEST: Duration = Duration::from_secs(600 + 60 + 60);

/// From the last word of a child to its end.
const FAREWELL: Duration = Duration::from_secs(5);

/// How this program is started again.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    before: &'static [&'static str],
}

impl Program {
    /// The program that runs now, which takes the options of this crate behind these arguments.
    ///
    /// # Errors
    ///
    /// The system does not tell which program runs.
    pub fn current(before: &'static [&'static str]) -> anyhow::Result<Self> {
        let path = std::env::current_exe().context("the path of this program")?;
        Ok(Self { path, before })
    }

    /// A program in the same folder.
    pub(crate) fn sibling(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }
}

/// Which process of a measurement a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    RelayNode,
    RelayProducer,
    RelayConsumer,
    RoutedProducer,
    RoutedConsumer,
    Requester,
    Responder,
    IdleNode,
    IdleClients,
    Beside,
    #[cfg(feature = "nats")]
    NatsProducer,
    #[cfg(feature = "nats")]
    NatsFilter,
    #[cfg(feature = "nats")]
    NatsConsumer,
    #[cfg(feature = "nats")]
    JetStreamProducer,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.write_str(value.as_ref().map_or_else(|| "", |value| value.get_name()))
    }
}

/// A child, as its parent sees it. Dropping it kills the process.
pub(crate) struct Child {
    part: Part,
    process: Process,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts the program as that part.
    pub(crate) fn start(program: &Program, part: Part) -> anyhow::Result<Self> {
        let mut process = Command::new(&program.path)
            .args(program.before)
            .arg("part")
            .arg(part.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{part} did not start"))?;
        let input = process.stdin.take().context("a pipe to the child")?;
        let output = process.stdout.take().context("a pipe from the child")?;
        Ok(Self { part, process, input, output: BufReader::new(output).lines() })
    }

    /// Starts the program as a part that is told its task, and waits until it is ready.
    pub(crate) async fn begin(
        program: &Program,
        part: Part,
        task: &impl Serialize,
    ) -> anyhow::Result<Self> {
        let mut child = Self::start(program, part)?;
        child.send(task).await?;
        let Event::Ready = child.receive().await? else {
            anyhow::bail!("{part} is not ready");
        };
        Ok(child)
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().with_context(|| format!("{} has ended", self.part))
    }

    pub(crate) async fn send(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.input.write_all(&line).await.with_context(|| format!("{} has ended", self.part))
    }

    /// Waits until the child has closed its connection and ended.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        let part = self.part;
        let status = tokio::time::timeout(FAREWELL, self.process.wait()).await;
        let status = status.with_context(|| format!("{part} does not end"))??;
        anyhow::ensure!(status.success(), "{part} ended with {status}");
        Ok(())
    }

    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let part = self.part;
        let line = tokio::time::timeout(LONGEST, self.output.next_line()).await;
        let line = line.with_context(|| format!("{part} says nothing"))??;
        let line = line.with_context(|| format!("{part} ended before its time"))?;
        serde_json::from_str(&line).with_context(|| format!("{part} says {line}"))
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
