//! How a command talks to a router's admin server.

use std::{net::SocketAddr, ops::ControlFlow, path::PathBuf};

use anyhow::{Context as _, anyhow, bail};
use axum::body::{Body, to_bytes};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::StreamExt as _;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST},
    http::request::Builder,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::TcpStream, task::JoinSet};

use super::state::StateOptions;
use crate::{
    admin::{SIGNATURE_HEADER, TOKEN_FILE},
    server::ENDPOINTS_FILE,
};

/// An answer is larger than this only if whoever answers is no router.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Shows what became of a deploy or a rollback.
pub(super) const LOOK_AT_PLUGINS: &str = "waypost plugin list";

/// Where the admin server is, and how the command shows that it may change something.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AdminOptions {
    #[command(flatten)]
    state: StateOptions,
    /// The admin server, as host:port; otherwise what the state folder says.
    #[arg(long, value_name = "ADDRESS", env = "WAYPOST_ADMIN")]
    admin: Option<SocketAddr>,
    /// The file with the token; otherwise admin.token in the state folder.
    #[arg(long, value_name = "FILE", env = "WAYPOST_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// The command that shows what became of a change, if something was to change.
type Look = Option<&'static str>;

/// What the admin server says when it does not do what it was asked.
#[derive(Debug, Deserialize)]
struct Refused {
    error: String,
}

/// The head of an answer; the connection lives as long as it.
struct Answer {
    address: SocketAddr,
    response: Response<Incoming>,
    /// Drives the connection.
    driver: JoinSet<hyper::Result<()>>,
}

/// What an answer says that is not what was asked for.
fn refusal(address: SocketAddr, status: StatusCode, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Refused>(body) {
        Ok(Refused { error }) => anyhow!(error),
        Err(_) => anyhow!("{address} answers with {status}, like no router of this version"),
    }
}

/// What there is to say when a connection broke that stood.
fn broken(address: SocketAddr, look: Look) -> String {
    let then = match look {
        Some(command) => format!("what was asked for may still be going on: see `{command}`"),
        None => "ask again".to_owned(),
    };
    format!("the connection to {address} broke before its answer was there; {then}")
}

impl AdminOptions {
    /// Asks for something that changes nothing.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Request::builder().method(Method::GET).uri(path), Vec::new(), None).await
    }

    /// Asks for what messages hold, showing the token.
    pub(super) async fn get_shown<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(self.authorised(Method::GET, path)?, Vec::new(), None).await
    }

    /// Asks for a change, showing the token. `look` is the command that shows what became of it.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
        look: Look,
    ) -> anyhow::Result<T> {
        self.ask(self.authorised(Method::POST, path)?, body, look).await
    }

    /// Asks for the end of something, showing the token.
    pub(super) async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        look: Look,
    ) -> anyhow::Result<T> {
        self.ask(self.authorised(Method::DELETE, path)?, Vec::new(), look).await
    }

    /// Sends an artefact, showing the token, with its signature if there is one.
    pub(super) async fn deploy<T: DeserializeOwned>(
        &self,
        path: &str,
        artefact: Vec<u8>,
        signature: Option<&[u8]>,
    ) -> anyhow::Result<T> {
        let mut request = self.authorised(Method::POST, path)?;
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, BASE64_STANDARD.encode(signature));
        }
        self.ask(request, artefact, Some(LOOK_AT_PLUGINS)).await
    }

    /// Asks for an answer that goes on, showing the token, and hands on its lines until there are no more or
    /// `line` has enough.
    pub(super) async fn follow(
        &self,
        path: &str,
        mut line: impl FnMut(&[u8]) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let Answer { address, response, driver: _driver } =
            self.send(self.authorised(Method::GET, path)?, Vec::new(), None).await?;
        let status = response.status();
        let body = Body::new(response.into_body());
        if status != StatusCode::OK {
            return Err(refusal(address, status, &to_bytes(body, MAX_ANSWER_BYTES).await?));
        }
        let mut chunks = body.into_data_stream();
        let mut rest = Vec::new();
        while let Some(chunk) = chunks.next().await {
            rest.extend_from_slice(&chunk.context("the router went away")?);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let whole: Vec<u8> = rest.drain(..=end).collect();
                if line(whole.trim_ascii())?.is_break() {
                    return Ok(());
                }
            }
            if rest.len() > MAX_ANSWER_BYTES {
                bail!("{address} answers like no router of this version");
            }
        }
        bail!("the router ended the answer")
    }

    /// A request that shows the token.
    fn authorised(&self, method: Method, path: &str) -> anyhow::Result<Builder> {
        let file = self.token_file.clone().unwrap_or_else(|| self.state.file(TOKEN_FILE));
        let token = std::fs::read_to_string(&file).with_context(|| {
            format!("the admin token {} cannot be read; name it with --token-file", file.display())
        })?;
        let bearer = format!("Bearer {}", token.trim());
        Ok(Request::builder().method(method).uri(path).header(AUTHORIZATION, bearer))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: Builder,
        body: Vec<u8>,
        look: Look,
    ) -> anyhow::Result<T> {
        let Answer { address, response, driver: _driver } = self.send(request, body, look).await?;
        let status = response.status();
        let bytes = to_bytes(Body::new(response.into_body()), MAX_ANSWER_BYTES).await;
        let bytes = bytes.with_context(|| broken(address, look))?;
        if status == StatusCode::OK {
            let told = || format!("{address} answers like no router of this version");
            return serde_json::from_slice(&bytes).with_context(told);
        }
        Err(refusal(address, status, &bytes))
    }

    async fn send(&self, request: Builder, body: Vec<u8>, look: Look) -> anyhow::Result<Answer> {
        let address = self.address()?;
        let stream =
            TcpStream::connect(address).await.with_context(|| self.unreachable(address))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = request.header(HOST, address.to_string()).header(CONTENT_LENGTH, body.len());
        let request = request.body(Body::from(body)).context("the request cannot be made")?;
        let response = sender.send_request(request).await.with_context(|| broken(address, look))?;
        Ok(Answer { address, response, driver })
    }

    fn unreachable(&self, address: SocketAddr) -> String {
        if self.admin.is_some() {
            return format!("no admin server answers on {address}; is the router running?");
        }
        let file = self.state.file(ENDPOINTS_FILE);
        format!(
            "no admin server answers on {address}, which is from {} and which a router that was killed leaves behind; start it \
             again, wait until it has started, or name an address with --admin",
            file.display()
        )
    }

    fn address(&self) -> anyhow::Result<SocketAddr> {
        if let Some(address) = self.admin {
            return Ok(address);
        }
        let endpoints = self.state.endpoints()?.with_context(|| {
            let none = self.state.no_router();
            format!("{none}; name another with --state, or an address with --admin")
        })?;
        endpoints.admin.context("the router runs without an admin server; set admin.enabled = true")
    }
}
