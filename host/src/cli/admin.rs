//! How a command talks to a router's admin server.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, anyhow, bail};
use axum::body::{Body, to_bytes};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST},
    http::request::Builder,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::net::TcpStream;

use crate::{
    admin::{SIGNATURE_HEADER, TOKEN_FILE},
    server::ENDPOINTS_FILE,
};

/// An answer is larger than this only if whoever answers is no router.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Where the admin server is, and how the command shows that it may change something.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AdminOptions {
    /// The state folder of the router, which says where its admin server listens and holds the token.
    #[arg(long, value_name = "FOLDER", env = "WAYPOST_STATE", default_value = ".waypost")]
    state: PathBuf,
    /// The admin server, as host:port; otherwise what the state folder says.
    #[arg(long, value_name = "ADDRESS", env = "WAYPOST_ADMIN")]
    admin: Option<SocketAddr>,
    /// The file with the token; otherwise admin.token in the state folder.
    #[arg(long, value_name = "FILE", env = "WAYPOST_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// What the state folder says of a running router.
#[derive(Debug, Deserialize)]
struct Endpoints {
    admin: Option<SocketAddr>,
}

/// What the admin server says when it does not do what it was asked.
#[derive(Debug, Deserialize)]
struct Refused {
    error: String,
}

impl AdminOptions {
    /// Asks for something that changes nothing.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Request::builder().method(Method::GET).uri(path), Vec::new()).await
    }

    /// Asks for a change, showing the token.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<T> {
        self.ask(self.change(path)?, body).await
    }

    /// Sends an artefact, showing the token, with its signature if there is one.
    pub(super) async fn deploy<T: DeserializeOwned>(
        &self,
        path: &str,
        artefact: Vec<u8>,
        signature: Option<&[u8]>,
    ) -> anyhow::Result<T> {
        let mut request = self.change(path)?;
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, BASE64_STANDARD.encode(signature));
        }
        self.ask(request, artefact).await
    }

    /// A request that shows the token.
    fn change(&self, path: &str) -> anyhow::Result<Builder> {
        let file = self.token_file.clone().unwrap_or_else(|| self.state.join(TOKEN_FILE));
        let token = std::fs::read_to_string(&file).with_context(|| {
            format!("the admin token {} cannot be read; name it with --token-file", file.display())
        })?;
        let bearer = format!("Bearer {}", token.trim());
        Ok(Request::builder().method(Method::POST).uri(path).header(AUTHORIZATION, bearer))
    }

    async fn ask<T: DeserializeOwned>(&self, request: Builder, body: Vec<u8>) -> anyhow::Result<T> {
        let address = self.address()?;
        let unreachable =
            || format!("no admin server answers on {address}; is the router running?");
        let stream = TcpStream::connect(address).await.with_context(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = request.header(HOST, address.to_string()).header(CONTENT_LENGTH, body.len());
        let request = request.body(Body::from(body)).context("the request cannot be made")?;
        let answer = sender.send_request(request).await.with_context(unreachable)?;
        let status = answer.status();
        let bytes = to_bytes(Body::new(answer.into_body()), MAX_ANSWER_BYTES).await;
        driver.abort();
        let bytes = bytes.with_context(unreachable)?;
        if status == StatusCode::OK {
            let told = || format!("{address} answers like no router of this version");
            return serde_json::from_slice(&bytes).with_context(told);
        }
        match serde_json::from_slice::<Refused>(&bytes) {
            Ok(Refused { error }) => Err(anyhow!(error)),
            Err(_) => bail!("{address} answers with {status}, like no router of this version"),
        }
    }

    fn address(&self) -> anyhow::Result<SocketAddr> {
        if let Some(address) = self.admin {
            return Ok(address);
        }
        let file = self.state.join(ENDPOINTS_FILE);
        let text = std::fs::read(&file).with_context(|| {
            format!(
                "no router runs with the state folder {}; name another with --state, or an address \
                 with --admin",
                self.state.display()
            )
        })?;
        let endpoints: Endpoints = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what a router writes", file.display()))?;
        endpoints.admin.context("the router runs without an admin server; set admin.enabled = true")
    }
}
