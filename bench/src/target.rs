//! The router that is measured: one that runs, or one that is started for it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use waypost_client::{Client, ClientOptions};

use crate::everything::Admin;

/// Making a certificate and compiling plugins takes a while on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// The router's state, below its folder.
const STATE: &str = "state";

/// Where a router is, and what its routes read and write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: String,
    /// The authority to trust, in PEM.
    pub(crate) ca: PathBuf,
    pub(crate) topic_in: String,
    pub(crate) topic_out: String,
}

impl Target {
    pub(crate) async fn connect(&self, name: &str) -> anyhow::Result<Client> {
        let options = ClientOptions::new(&self.address).ca_file(&self.ca)?.name(name);
        Ok(Client::connect(options).await?)
    }
}

/// What a router is started with.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// The `waypost` command.
    pub(crate) binary: PathBuf,
    /// The configuration's text.
    pub(crate) config: String,
    /// Keys that stand over it, as `KEY=VALUE`.
    pub(crate) set: Vec<String>,
    /// Artefacts by the names of their plugins.
    pub(crate) plugins: Vec<(String, PathBuf)>,
}

/// What a running router writes into its state folder.
#[derive(Debug, Deserialize)]
struct Endpoints {
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    ca: Option<PathBuf>,
}

/// A router in a temporary folder, on free ports of loopback, with a development certificate. It is killed
/// when this is dropped: nobody needs it any more.
#[derive(Debug)]
pub(crate) struct Router {
    child: Child,
    endpoints: Endpoints,
    /// Removed when this is dropped.
    folder: TempDir,
}

impl Router {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(start: &Start) -> anyhow::Result<Self> {
        let binary = &start.binary;
        if !binary.is_file() {
            bail!(
                "there is no router at {}; name the waypost command with --router",
                binary.display()
            );
        }
        let folder = tempfile::tempdir().context("a folder for the router")?;
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins)?;
        for (name, file) in &start.plugins {
            let place = plugins.join(format!("{name}.wasm"));
            fs::copy(file, &place).with_context(|| {
                format!("{}: --plugins names the folder with the plugins", file.display())
            })?;
        }
        let (config, log) = (folder.path().join("waypost.toml"), folder.path().join("log"));
        fs::write(&config, &start.config)?;
        let state = folder.path().join(STATE);
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(&config);
        for pair in &start.set {
            command.arg("--set").arg(pair);
        }
        let child = command
            .env("WAYPOST__LISTEN__ADDRESS", "127.0.0.1:0")
            .env("WAYPOST__ADMIN__ADDRESS", "127.0.0.1:0")
            .env("WAYPOST__PLUGINS__FOLDER", &plugins)
            .env("WAYPOST__ROUTER__STATE_FOLDER", &state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let (child, endpoints) = ready(child, &state.join("endpoints.json"), &log).await?;
        Ok(Self { child, endpoints, folder })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its operators ask.
    pub(crate) fn admin(&self) -> anyhow::Result<Admin> {
        let address = self.endpoints.admin.context("the router has no admin server")?;
        let file = self.folder.path().join(STATE).join("admin.token");
        let token = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(Admin { address, token: token.trim().to_owned() })
    }

    pub(crate) fn target(&self, topic_in: &str, topic_out: &str) -> anyhow::Result<Target> {
        let ca = self.endpoints.ca.clone().context("the router has no certificate of its own")?;
        let address = self.endpoints.listen.to_string();
        Ok(Target { address, ca, topic_in: topic_in.to_owned(), topic_out: topic_out.to_owned() })
    }
}

async fn ready(mut child: Child, file: &Path, log: &Path) -> anyhow::Result<(Child, Endpoints)> {
    let said = || fs::read_to_string(log).unwrap_or_default();
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Ok(bytes) = fs::read(file) {
            return Ok((child, serde_json::from_slice(&bytes)?));
        }
        if let Some(status) = child.try_wait()? {
            bail!("the router ended with {status}:\n{}", said());
        }
        if Instant::now() > deadline {
            bail!("the router was not ready in time:\n{}", said());
        }
        tokio::time::sleep(POLL).await;
    }
}
