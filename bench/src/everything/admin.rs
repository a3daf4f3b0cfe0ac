//! Plain HTTP, as far as somebody who scrapes metrics and somebody who watches messages need it.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
};

/// The answer to a request for metrics, at most.
const MOST_BYTES: u64 = 16 << 20;
/// What tells that an answer is one of the router's.
const METRIC: &str = "\nwaypost_";

/// The admin server, and the token for what not everybody may see.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

impl Admin {
    /// Fetches all metrics, and checks that there are some.
    pub(super) async fn scrape(&self) -> anyhow::Result<()> {
        let answer = self.ask("/metrics").await?;
        let mut text = String::new();
        answer.take(MOST_BYTES).read_to_string(&mut text).await?;
        ensure!(text.contains(METRIC), "/metrics has none of the router's metrics");
        Ok(())
    }

    /// Watches the messages of a topic; each that is seen is a line that says when.
    pub(super) async fn tap(&self, topic: &str, per_second: u32) -> anyhow::Result<Tap> {
        let path = format!("/api/v1/tap?pattern={topic}&per_second={per_second}");
        Ok(Tap(self.ask(&path).await?.lines()))
    }

    /// HTTP/1.0 has no chunks: what follows the head is the body, up to the end of the connection.
    async fn ask(&self, path: &str) -> anyhow::Result<BufReader<TcpStream>> {
        let Self { address, token } = self;
        let mut stream = TcpStream::connect(address).await.context("the admin server")?;
        let head = format!(
            "GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = BufReader::new(stream);
        let mut line = String::new();
        answer.read_line(&mut line).await?;
        ensure!(line.contains(" 200 "), "{path} answered {line}");
        while line.trim_end() != "" {
            line.clear();
            answer.read_line(&mut line).await?;
        }
        Ok(answer)
    }
}

/// Live messages.
pub(super) struct Tap(Lines<BufReader<TcpStream>>);

impl Tap {
    /// Waits for the next message. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> anyhow::Result<()> {
        loop {
            let line = self.0.next_line().await?;
            if line.context("the tap ended")?.contains("\"at_ms\"") {
                return Ok(());
            }
        }
    }
}
