//! What every command that talks to a router is told.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{anyhow, bail};
use waypost_client::{Client, ClientOptions, Reconnect};

use super::{progress, state::StateOptions, values::address};
use crate::{
    logging,
    net::DEVELOPMENT_CA_FILE,
    server::{ENDPOINTS_FILE, Endpoints},
};

/// Where a router listens that is told nothing else.
const DEFAULT_ADDRESS: &str = "127.0.0.1:4433";

/// Where the router is, and how it is known.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConnectionOptions {
    /// The router, as host:port; otherwise what the state folder says, and 127.0.0.1:4433 if it says nothing.
    #[arg(long, env = "WAYPOST_ADDRESS", value_parser = address)]
    address: Option<String>,
    /// The authority that signed the router's certificate, in PEM; otherwise what the state folder holds.
    #[arg(long, value_name = "FILE", env = "WAYPOST_CA")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    state: StateOptions,
    /// Attempts in a row to make a lost connection again, about 4 s apart once there were a few; 0 gives
    /// up at once.
    #[arg(long, value_name = "N")]
    reconnects: Option<u32>,
}

/// A router, and how it was found.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    address: String,
    ca: PathBuf,
    /// Where the address is from and how to say another, unless somebody said it.
    whence: Option<String>,
}

impl ConnectionOptions {
    /// Connects. `reconnects` holds where nobody said how often to do so again; `None` is for ever.
    pub(super) async fn connect(&self, reconnects: Option<u32>) -> anyhow::Result<Client> {
        let Found { address, ca, whence } = self.find()?;
        let attempts = self.reconnects.or(reconnects);
        let options = ClientOptions::new(address)
            .ca_file(ca)?
            .name("waypost-cli")
            .reconnect(Reconnect { attempts, ..Reconnect::default() });
        Client::connect(options).await.map_err(|error| match whence {
            Some(whence) => anyhow!("{error}; {whence}"),
            None => error.into(),
        })
    }

    /// What was said holds; for the rest the state folder is asked.
    fn find(&self) -> anyhow::Result<Found> {
        if let Some(address) = self.address.clone() {
            return Ok(Found { address, ca: self.ca_or_development()?, whence: None });
        }
        let Some(Endpoints { listen, ca, .. }) = self.state.endpoints()? else {
            let whence = format!(
                "this address is the default, as {}; name another state folder with --state, or an address \
                 with --address",
                self.state.no_router()
            );
            let address = DEFAULT_ADDRESS.to_owned();
            return Ok(Found { address, ca: self.ca_or_development()?, whence: Some(whence) });
        };
        let file = self.state.file(ENDPOINTS_FILE);
        let Some(ca) = self.ca.clone().or(ca) else {
            bail!(
                "the router of {} has a certificate of its own; name the authority that signed it with --ca",
                file.display()
            );
        };
        let whence = format!(
            "this address is from {}, which a router that was killed leaves behind; start it again, or name an \
             address with --address",
            file.display()
        );
        Ok(Found { address: reachable(listen).to_string(), ca, whence: Some(whence) })
    }

    /// The authority that was said, or the one of a development certificate.
    fn ca_or_development(&self) -> anyhow::Result<PathBuf> {
        if let Some(ca) = &self.ca {
            return Ok(ca.clone());
        }
        let ca = self.state.file(DEVELOPMENT_CA_FILE);
        if !ca.is_file() {
            let said = match &self.address {
                Some(address) => format!("nobody said by what to know the router at {address}"),
                None => self.state.no_router(),
            };
            bail!(
                "{said}, and there is no {}; name the router's state folder with --state, or say where it is \
                 and which authority signed its certificate with --address and --ca",
                ca.display()
            );
        }
        Ok(ca)
    }
}

/// Where to reach a router on this machine: one that listens on every address does so on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(loopback, listen.port())
}

/// Starts the log with this filter, unless `RUST_LOG` says another.
pub(super) fn init_log(filter: &str) -> anyhow::Result<()> {
    let said = std::env::var("RUST_LOG").ok().filter(|said| !said.trim().is_empty());
    let options = logging::Options {
        json: None,
        filter: Some(said.unwrap_or_else(|| filter.to_owned())),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    };
    Ok(logging::init(&options, || progress::Stderr)?)
}

/// The runtime of a command that only talks to a router.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const LISTEN: &str = r#"{"listen":"0.0.0.0:5000","admin":null,"ca":"/a/ca.pem","pid":1}"#;

    /// What is found in a state folder that holds these files.
    fn find(
        files: &[(&str, &str)],
        address: Option<&str>,
        ca: Option<&str>,
    ) -> anyhow::Result<(String, String)> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().expect("it has one")).expect("a folder");
            fs::write(file, text).expect("the folder takes a file");
        }
        let options = ConnectionOptions {
            address: address.map(str::to_owned),
            ca: ca.map(PathBuf::from),
            state: StateOptions::of(folder.path()),
            reconnects: None,
        };
        let Found { address, ca, .. } = options.find()?;
        let below = ca.strip_prefix(folder.path()).unwrap_or(&ca);
        Ok((address, below.display().to_string()))
    }

    fn check(files: &[(&str, &str)], said: [Option<&str>; 2], expected: [&str; 2]) {
        let [address, ca] = said;
        let found = find(files, address, ca).expect("a router is found");
        assert_eq!([found.0.as_str(), &found.1], expected, "{files:?} {said:?}");
    }

    #[test]
    fn what_nobody_said_is_in_the_state_folder_and_what_that_lacks_is_the_default() {
        let running = [("endpoints.json", LISTEN), ("tls/ca.pem", "")];
        let stopped = [("tls/ca.pem", "")];
        check(&running, [None, None], ["127.0.0.1:5000", "/a/ca.pem"]);
        check(&running, [None, Some("b.pem")], ["127.0.0.1:5000", "b.pem"]);
        check(&running, [Some("h:1"), None], ["h:1", "tls/ca.pem"]);
        check(&stopped, [None, None], ["127.0.0.1:4433", "tls/ca.pem"]);
        check(&stopped, [None, Some("b.pem")], ["127.0.0.1:4433", "b.pem"]);
        check(&[], [Some("h:1"), Some("b.pem")], ["h:1", "b.pem"]);
        // Nobody asks what does not matter.
        check(&[("endpoints.json", "{")], [Some("h:1"), Some("b.pem")], ["h:1", "b.pem"]);
    }

    #[test]
    fn what_is_not_found_is_told_with_where_it_was_looked_for_and_what_to_say() {
        let own = LISTEN.replace("\"/a/ca.pem\"", "null");
        for (files, address, told) in [
            (&[][..], None, &["no router runs", "endpoints.json", "tls/ca.pem", "--state"][..]),
            (&[], Some("h:1"), &["h:1", "tls/ca.pem", "--ca"]),
            (&[("endpoints.json", "{")], None, &["endpoints.json is not what a router writes"]),
            (&[("endpoints.json", &own)], None, &["endpoints.json", "--ca"]),
        ] {
            let error = find(files, address, None).expect_err("nothing is found").to_string();
            assert!(told.iter().all(|each| error.contains(each)), "{error}");
        }
        let nowhere = StateOptions::of(Path::new("nowhere"));
        assert!(nowhere.no_router().ends_with("there is no nowhere/endpoints.json"));
    }

    #[test]
    fn a_router_on_every_address_is_reached_by_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("[::1]:1", "[::1]:1"),
        ] {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), expected);
        }
    }
}
