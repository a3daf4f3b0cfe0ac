//! A NATS server in a temporary folder, on a free port of loopback.

use std::{
    fs::{self, File},
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::compare::peers::{NATS_SERVER, Peer};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A running server; it is killed when this is dropped.
pub(super) struct Server {
    child: Child,
    pub(super) address: String,
    /// The authority of its certificate, with TLS.
    pub(super) ca: Option<PathBuf>,
    /// Removed when this is dropped.
    _folder: TempDir,
}

/// Where it listens, as it writes into its folder.
#[derive(Debug, Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl Server {
    pub(super) async fn start(peer: Peer) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the server")?;
        let path = folder.path();
        let ca = (peer == Peer::NatsTlsFilter).then(|| certificate(path)).transpose()?;
        let (config, log) = (path.join("nats.conf"), path.join("log"));
        fs::write(&config, configuration(peer, path))?;
        let child = Command::new(NATS_SERVER)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context(NATS_SERVER)?;
        let pid = child.id().context("the server has ended")?;
        let ports = path.join(format!("{NATS_SERVER}_{pid}.ports"));
        let (child, port) = ready(child, &ports, &log).await?;
        let scheme = if ca.is_some() { "tls" } else { "nats" };
        let address = format!("{scheme}://{LOOPBACK}:{port}");
        Ok(Self { child, address, ca, _folder: folder })
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }
}

/// Everything that is not said is the server's default.
fn configuration(peer: Peer, folder: &Path) -> String {
    let folder = folder.display();
    let mut text = format!("host: {LOOPBACK}\nport: -1\nports_file_dir: \"{folder}\"\n");
    text.push_str(&match peer {
        Peer::NatsTlsFilter => format!(
            "tls {{ cert_file: \"{folder}/certificate.pem\", key_file: \"{folder}/key.pem\" }}\n"
        ),
        Peer::NatsFilter => String::new(),
        Peer::JetStreamLazy => format!("jetstream {{ store_dir: \"{folder}/store\" }}\n"),
        Peer::JetStreamSync => {
            format!("jetstream {{ store_dir: \"{folder}/store\", sync_interval: always }}\n")
        }
    });
    text
}

/// Makes a certificate for the server, which clients trust by name.
fn certificate(folder: &Path) -> anyhow::Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed([LOOPBACK.to_string()])?;
    let file = folder.join("certificate.pem");
    fs::write(&file, made.cert.pem())?;
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(file)
}

async fn ready(mut child: Child, ports: &Path, log: &Path) -> anyhow::Result<(Child, u16)> {
    let said = || fs::read_to_string(log).unwrap_or_default();
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(port) = fs::read(ports).ok().and_then(|bytes| port(&bytes)) {
            return Ok((child, port));
        }
        if let Some(status) = child.try_wait()? {
            bail!("{NATS_SERVER} ended with {status}:\n{}", said());
        }
        if Instant::now() > deadline {
            bail!("{NATS_SERVER} was not ready in time:\n{}", said());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The port of the first address; `None` while the file is not yet whole.
fn port(bytes: &[u8]) -> Option<u16> {
    let ports: Ports = serde_json::from_slice(bytes).ok()?;
    ports.nats.first()?.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_once_the_file_is_whole() {
        let file = br#"{"nats":["tls://127.0.0.1:4321"],"monitoring":[]}"#;
        assert_eq!(port(file), Some(4321));
        assert_eq!(port(&file[..20]), None);
    }
}
