//! `waypost request`: one request, and its reply printed.

use std::{io, path::PathBuf, time::Duration};

use anyhow::{anyhow, ensure};
use tokio::io::AsyncReadExt as _;
use waypost_client::Message;
use waypost_protocol::{MAX_MESSAGE_BYTES, Topic};

use super::{
    Failure,
    connection::{ConnectionOptions, init_log, runtime},
    print::{Format, Printed, Printer},
    values::{destination, header, open, patience},
};

/// What to ask.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The topic.
    #[arg(value_parser = destination)]
    topic: Topic,
    /// The payload.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    data: Option<String>,
    /// The file with the payload; - or nothing for standard input.
    #[arg(long, default_value = "-")]
    file: PathBuf,
    /// How long to wait for the reply, as in 500ms, 10s or 2m.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = patience)]
    timeout: Duration,
    /// A header of the request, as NAME=VALUE; may stand several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// How to print the reply; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    connection: ConnectionOptions,
}

pub(super) fn run(options: Options) -> Result<(), Failure> {
    init_log("warn,waypost_client=info")?;
    let runtime = runtime()?;
    let done = runtime.block_on(request(options));
    // A read of standard input cannot be called off.
    runtime.shutdown_background();
    done
}

async fn request(options: Options) -> Result<(), Failure> {
    let payload = match options.data {
        Some(text) => text.into_bytes(),
        None => read(&options.file).await?,
    };
    let mut message = Message::new(options.topic.as_str(), payload);
    for (name, value) in &options.headers {
        message = message.header(name, value)?;
    }
    // A lost connection takes the reply with it, so another one is of no use.
    let client = options.connection.connect(Some(0)).await?;
    let asked = tokio::select! {
        asked = client.request(message, options.timeout) => asked.map_err(Failure::from),
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted").into()),
    };
    client.close().await;
    let reply = asked?;
    let printer = Printer::start(options.output)?;
    printer.print(Printed::Message(reply)).await;
    match printer.finish().await {
        // Whoever read the other end of the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

/// The whole of a file, which must be small enough for a message.
async fn read(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    let mut payload = Vec::new();
    let most = u64::from(MAX_MESSAGE_BYTES);
    open(path).await?.take(most + 1).read_to_end(&mut payload).await?;
    ensure!(payload.len() as u64 <= most, "the payload has more than {most} bytes");
    Ok(payload)
}
