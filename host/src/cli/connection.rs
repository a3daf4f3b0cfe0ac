//! What every command that talks to a router is told.

use std::path::PathBuf;

use waypost_client::{Client, ClientOptions};

/// Where the router is, and how it is known.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConnectionOptions {
    /// The router, as host:port.
    #[arg(long, env = "WAYPOST_ADDRESS", default_value = "127.0.0.1:4433")]
    address: String,
    /// The authority that signed the router's certificate, in PEM; a router that makes a development
    /// certificate says where this is.
    #[arg(long, env = "WAYPOST_CA", default_value = ".waypost/tls/ca.pem")]
    ca: PathBuf,
}

impl ConnectionOptions {
    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        let options = ClientOptions::new(&self.address).ca_file(&self.ca)?.name("waypost-cli");
        Ok(Client::connect(options).await?)
    }
}

/// The runtime of a command that only talks to a router.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
