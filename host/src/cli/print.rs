//! How a message is printed, on a thread of its own: a reader of standard output that stands still holds
//! up neither the connection nor a signal.

use std::{
    io::{self, BufWriter, IsTerminal as _, Stdout, Write},
    thread,
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use waypost_client::{Delivered, Delivery};

use super::shown::{Colours, Shown, printable};

/// Messages that wait for the thread. Beyond them the subscription's credit is not given back.
const MAX_WAITING: usize = 64;

/// The form of a printed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line: topic, key, headers, payload, times, route and the versions it went through.
    Json,
    /// The payload and a newline.
    Raw,
    /// For people: topic, key, headers and payload.
    Pretty,
}

/// What is printed.
pub(super) enum Printed {
    /// A message of a subscription.
    Message(Delivered),
    /// A message that a member of a group holds; it is done once it is printed.
    Held(Delivery),
}

impl Printed {
    fn message(&self) -> &Delivered {
        match self {
            Self::Message(message) => message,
            Self::Held(delivery) => delivery.message(),
        }
    }
}

/// Prints messages to standard output, in order.
pub(super) struct Printer {
    messages: mpsc::Sender<Printed>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Printer {
    /// Starts the thread. If nobody said a format, it is pretty on a terminal and JSON elsewhere.
    pub(super) fn start(format: Option<Format>) -> io::Result<Self> {
        let on_terminal = io::stdout().is_terminal();
        let format = format.unwrap_or(if on_terminal { Format::Pretty } else { Format::Json });
        let colours = Colours::of_stdout();
        let (messages, waiting) = mpsc::channel(MAX_WAITING);
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("print".to_owned()).spawn(move || {
            let out = BufWriter::new(io::stdout());
            // Nobody may wait for it any more.
            let _ = end.send(Lines { format, colours, out }.print_all(waiting));
        })?;
        Ok(Self { messages, ended })
    }

    /// Hands a message over, awaiting the thread. Says whether it still prints.
    pub(super) async fn print(&self, message: Printed) -> bool {
        self.messages.send(message).await.is_ok()
    }

    /// Resolves when the thread prints no more, because its output failed.
    pub(super) async fn failed(&self) {
        self.messages.closed().await;
    }

    /// Awaits that everything is printed, and gives what kept it from being so.
    pub(super) async fn finish(self) -> io::Result<()> {
        let Self { messages, ended } = self;
        drop(messages);
        ended.await.unwrap_or_else(|_| Err(io::Error::other("the printing thread went down")))
    }
}

/// Writes to standard output. Whoever closed the other end of a pipe has seen enough, which is no failure.
pub(super) fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Writes for people what a router said, with what would steer a terminal replaced.
pub(super) fn write_shown(text: &str) -> io::Result<()> {
    write_out(&printable(text.as_bytes()))
}

struct Lines {
    format: Format,
    colours: Colours,
    out: BufWriter<Stdout>,
}

impl Lines {
    fn print_all(mut self, mut messages: mpsc::Receiver<Printed>) -> io::Result<()> {
        let mut held = Vec::new();
        while let Some(printed) = messages.blocking_recv() {
            self.print(printed.message())?;
            if let Printed::Held(delivery) = printed {
                held.push(delivery);
            }
            // Whoever reads a pipe sees a message as soon as no other follows.
            if messages.is_empty() || held.len() >= MAX_WAITING {
                self.out.flush()?;
                held.drain(..).for_each(Delivery::ack);
            }
        }
        self.out.flush()?;
        held.into_iter().for_each(Delivery::ack);
        Ok(())
    }

    fn print(&mut self, message: &Delivered) -> io::Result<()> {
        match self.format {
            Format::Json => writeln!(self.out, "{}", object(message)),
            Format::Raw => {
                self.out.write_all(message.payload())?;
                self.out.write_all(b"\n")
            }
            Format::Pretty => shown(message).pretty(&mut self.out, self.colours, ""),
        }
    }
}

fn shown(message: &Delivered) -> Shown<'_> {
    Shown {
        topic: message.topic(),
        key: message.key(),
        headers: message.headers(),
        payload: message.payload(),
    }
}

fn object(message: &Delivered) -> Value {
    let envelope = message.envelope();
    let stages: Vec<Value> = envelope
        .stages
        .iter()
        .map(|run| {
            let digest: String = run.digest.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "stage": run.stage, "plugin": run.plugin, "version": run.version, "digest": digest })
        })
        .collect();
    let mut object = shown(message).object();
    object.insert("created_ms".to_owned(), json!(message.created_ms()));
    object.insert("ingest_ms".to_owned(), json!(envelope.ingest_ms));
    if let (Some(stream), Some(offset)) = (&envelope.stream, message.offset()) {
        object.insert("stream".to_owned(), json!(stream));
        object.insert("partition".to_owned(), json!(envelope.partition));
        object.insert("offset".to_owned(), json!(offset.0));
    }
    if let Some(route) = &envelope.route {
        object.insert("route".to_owned(), json!(route));
        object.insert("stages".to_owned(), Value::Array(stages));
    }
    Value::Object(object)
}
