//! What every command that talks to a router is told.

use std::path::PathBuf;

use waypost_client::{Client, ClientOptions, Reconnect};

use super::values::address;
use crate::logging;

/// Where the router is, and how it is known.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConnectionOptions {
    /// The router, as host:port.
    #[arg(long, env = "WAYPOST_ADDRESS", default_value = "127.0.0.1:4433", value_parser = address)]
    address: String,
    /// The authority that signed the router's certificate, in PEM; a router that makes a development
    /// certificate says where this is.
    #[arg(long, env = "WAYPOST_CA", default_value = ".waypost/tls/ca.pem")]
    ca: PathBuf,
    /// Attempts in a row to make a lost connection again, about 4 s apart once there were a few; 0 gives
    /// up at once.
    #[arg(long, value_name = "N")]
    reconnects: Option<u32>,
}

impl ConnectionOptions {
    /// Connects. `reconnects` holds where nobody said how often to do so again; `None` is for ever.
    pub(super) async fn connect(&self, reconnects: Option<u32>) -> anyhow::Result<Client> {
        let attempts = self.reconnects.or(reconnects);
        let options = ClientOptions::new(&self.address)
            .ca_file(&self.ca)?
            .name("waypost-cli")
            .reconnect(Reconnect { attempts, ..Reconnect::default() });
        Ok(Client::connect(options).await?)
    }
}

/// Starts the log with this filter, unless `RUST_LOG` says another.
pub(super) fn init_log(filter: &str) -> anyhow::Result<()> {
    let said = std::env::var("RUST_LOG").ok().filter(|said| !said.trim().is_empty());
    Ok(logging::init(&logging::Options {
        json: None,
        filter: Some(said.unwrap_or_else(|| filter.to_owned())),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    })?)
}

/// The runtime of a command that only talks to a router.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
