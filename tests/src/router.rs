//! A router as a process of its own, with folders of its own, on free ports of loopback.

use std::{
    fs::{self, File},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::Instant,
};
use waypost_client::{Client, ClientOptions};

use crate::{Faults, get, post};

/// Compiling plugins takes a while where the compiler is not optimised.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct RouterOptions {
    /// The configuration's text; a file of the repository when it is a path.
    pub config: Config,
    /// Artefacts by plugin name, which are copied into the router's own plugin folder.
    pub plugins: Vec<(String, PathBuf)>,
    /// What goes wrong beneath it.
    pub faults: Option<Faults>,
}

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub enum Config {
    /// A file as it stands.
    File(PathBuf),
    /// Text that becomes a file.
    Text(String),
}

impl Default for Config {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// What a running router writes into its state folder.
#[derive(Debug, Deserialize)]
struct Endpoints {
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    ca: Option<PathBuf>,
}

/// A running router; it is killed when this is dropped.
#[derive(Debug)]
pub struct Router {
    child: Child,
    folder: TempDir,
    endpoints: Endpoints,
    binary: PathBuf,
    config: PathBuf,
    faults: Option<Faults>,
}

impl Router {
    /// Starts a router with a configuration's text and these artefacts, from the built command.
    ///
    /// # Errors
    ///
    /// It ends, or is not ready in time; with its log.
    pub async fn start(config: &str, plugins: &[(&str, PathBuf)]) -> anyhow::Result<Self> {
        let plugins =
            plugins.iter().map(|(name, file)| ((*name).to_owned(), file.clone())).collect();
        let options =
            RouterOptions { config: Config::Text(config.to_owned()), plugins, faults: None };
        Self::launch(&crate::built("debug/waypost"), &options).await
    }

    /// Starts a router from a given command. Artefacts that have a signature beside them come with it.
    ///
    /// # Errors
    ///
    /// It ends, or is not ready in time; with its log.
    pub async fn launch(binary: &Path, options: &RouterOptions) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins)?;
        for (name, file) in &options.plugins {
            let place = plugins.join(format!("{name}.wasm"));
            fs::copy(file, &place).with_context(|| file.display().to_string())?;
            let signature = signature_of(file);
            if signature.is_file() {
                fs::copy(signature, signature_of(&place))?;
            }
        }
        let config = match &options.config {
            Config::File(path) => path.clone(),
            Config::Text(text) => {
                let path = folder.path().join("waypost.toml");
                fs::write(&path, text)?;
                path
            }
        };
        let (binary, faults) = (binary.to_owned(), options.faults.clone());
        if let Some(faults) = &faults {
            faults.prepare(folder.path())?;
        }
        let mut child = spawn(&binary, &config, &folder, unshared_address()?, faults.as_ref())?;
        let endpoints = ready(&mut child, &folder).await?;
        Ok(Self { child, folder, endpoints, binary, config, faults })
    }

    /// Kills it, and starts it again at the same address with the same state folder.
    ///
    /// # Errors
    ///
    /// It is not ready in time; with its log.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.child = self.spawn_again()?;
        self.endpoints = ready(&mut self.child, &self.folder).await?;
        Ok(())
    }

    /// Kills it, starts it again, and kills it after that long, whether it is ready or not.
    ///
    /// # Errors
    ///
    /// It does not start, or ends by itself; with its log.
    pub async fn restart_for(&mut self, moment: Duration) -> anyhow::Result<()> {
        self.kill().await?;
        self.child = self.spawn_again()?;
        match tokio::time::timeout(moment, self.child.wait()).await {
            Ok(status) => bail!("the router ended with {}:\n{}", status?, self.log()),
            Err(_) => self.kill().await,
        }
    }

    fn spawn_again(&self) -> anyhow::Result<Child> {
        let listen = self.endpoints.listen;
        spawn(&self.binary, &self.config, &self.folder, listen, self.faults.as_ref())
    }

    /// Kills it, starts it again, and waits until it ends by itself.
    ///
    /// # Errors
    ///
    /// It does not end in time; with its log.
    pub async fn restart_until_end(&mut self) -> anyhow::Result<ExitStatus> {
        self.kill().await?;
        self.child = self.spawn_again()?;
        match tokio::time::timeout(START_TIMEOUT, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("the router goes on:\n{}", self.log()),
        }
    }

    /// What fails beneath it from its next start on.
    ///
    /// # Errors
    ///
    /// It was launched without faults.
    pub fn fail(&mut self, fault: Option<String>) -> anyhow::Result<()> {
        self.faults.as_mut().context("the router has no faults")?.fail(fault);
        Ok(())
    }

    /// Sets its clock so many seconds off.
    ///
    /// # Errors
    ///
    /// It was launched without faults.
    pub fn set_clock(&self, seconds: i64) -> anyhow::Result<()> {
        let faults = self.faults.as_ref().context("the router has no faults")?;
        faults.set_clock(self.folder.path(), seconds)
    }

    /// Kills it, and takes from its storage whatever was not synced.
    ///
    /// # Errors
    ///
    /// It was launched without a disk of its own.
    pub async fn cut_power(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        let faults = self.faults.as_ref().context("the router has no faults")?;
        faults.cut_power(self.folder.path())
    }

    /// Kills it, if it has not ended already.
    ///
    /// # Errors
    ///
    /// The system does not.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if self.pid().is_some() {
            self.child.kill().await?;
        }
        Ok(())
    }

    /// Its QUIC address.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.endpoints.listen
    }

    /// The authority of its development certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.endpoints.ca.clone().unwrap_or_default()
    }

    /// Its state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        state(&self.folder)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        log_of(&self.folder)
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// The router does not take it.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let options = ClientOptions::new(self.listen().to_string()).ca_file(self.ca())?;
        Ok(Client::connect(options.name("tests")).await?)
    }

    /// Replaces its configuration by this text, in one step.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn configure(&self, text: &str) -> anyhow::Result<()> {
        let beside = self.config.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(&beside, &self.config)?;
        Ok(())
    }

    /// Puts an artefact in the place of a plugin's, in one step.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn put(&self, plugin: &str, artefact: &[u8]) -> anyhow::Result<()> {
        let file = self.artefact_file(plugin);
        let beside = file.with_extension("new");
        fs::write(&beside, artefact)?;
        fs::rename(&beside, &file)?;
        Ok(())
    }

    /// The bytes of a plugin's artefact.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn artefact(&self, plugin: &str) -> anyhow::Result<Vec<u8>> {
        Ok(fs::read(self.artefact_file(plugin))?)
    }

    fn artefact_file(&self, plugin: &str) -> PathBuf {
        self.folder.path().join("plugins").join(format!("{plugin}.wasm"))
    }

    /// The body of an answer of its admin server.
    ///
    /// # Errors
    ///
    /// No answer, or another status than 200.
    pub async fn admin(&self, path: &str) -> anyhow::Result<String> {
        let address = self.endpoints.admin.context("the router has no admin address")?;
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || get(address, &path)).await?
    }

    /// Hands an artefact in for a plugin, as `waypost plugin deploy` does; gives what the router answers once it
    /// runs.
    ///
    /// # Errors
    ///
    /// The artefact is refused, or the admin server does not answer.
    pub async fn deploy(&self, plugin: &str, artefact: Vec<u8>) -> anyhow::Result<Value> {
        let address = self.endpoints.admin.context("the router has no admin address")?;
        let token = fs::read_to_string(self.state().join("admin.token"))?;
        let path = format!("/api/v1/plugins/{plugin}/versions");
        let ask = move || post(address, &path, token.trim(), &artefact);
        Ok(serde_json::from_str(&tokio::task::spawn_blocking(ask).await??)?)
    }

    /// The digest of the version of a plugin that runs now.
    ///
    /// # Errors
    ///
    /// The admin server does not tell it.
    pub async fn digest_of(&self, plugin: &str) -> anyhow::Result<String> {
        let status: Value = serde_json::from_str(&self.admin("/api/v1/plugins").await?)?;
        let plugins = status["plugins"].as_array().context("the answer lists no plugins")?;
        let found = plugins.iter().find(|each| each["name"] == plugin);
        let found = found.with_context(|| format!("the router does not list {plugin}"))?;
        Ok(found["digest"].as_str().context("a plugin has no digest")?.to_owned())
    }

    /// Waits until a series, with its labels, has come to so much.
    ///
    /// # Panics
    ///
    /// It has not after a minute, or the router does not answer; with the log.
    pub async fn until(&self, name: &str, least: f64) {
        let reached = async {
            while self.metric(name).await.expect("the router tells the series") < least {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        reached.unwrap_or_else(|_| panic!("{name} did not come to {least}:\n{}", self.log()));
    }

    /// The value of a series without labels, or the sum over its labels.
    ///
    /// # Errors
    ///
    /// The admin server does not tell it.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.admin("/metrics").await?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_series = rest.starts_with(' ') || rest.starts_with('{');
            is_series.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        Ok(values.sum())
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        let pid = self.pid().context("the router has ended")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kibibytes.context("the system tells no memory")?.parse::<u64>()? * 1024)
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid().context("the router has ended")?;
        let mut kill = std::process::Command::new("kill");
        let status = kill.arg(format!("-{name}")).arg(pid.to_string()).status()?;
        anyhow::ensure!(status.success(), "kill ended with {status}");
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// It does not end in time; with its log.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("the router did not stop:\n{}", self.log()),
        }
    }

    /// Drains it.
    ///
    /// # Errors
    ///
    /// It does not end well; with its log.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let status = self.wait().await?;
        anyhow::ensure!(status.success(), "the router ended with {status}:\n{}", self.log());
        Ok(())
    }
}

/// A free address on loopback whose port the system gives to nobody by itself, so that it is still free when a router
/// that was killed starts again.
fn unshared_address() -> anyhow::Result<SocketAddr> {
    for _ in 0..100 {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(10_000..32_000)));
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port of a hundred is free")
}

/// Where the signature of an artefact stands.
fn signature_of(artefact: &Path) -> PathBuf {
    let mut file = artefact.as_os_str().to_owned();
    file.push(".minisig");
    file.into()
}

fn state(folder: &TempDir) -> PathBuf {
    folder.path().join("state")
}

fn endpoints_of(folder: &TempDir) -> PathBuf {
    state(folder).join("endpoints.json")
}

/// Starts the command in its folder.
fn spawn(
    binary: &Path,
    config: &Path,
    folder: &TempDir,
    listen: SocketAddr,
    faults: Option<&Faults>,
) -> anyhow::Result<Child> {
    // A router that was killed left it behind.
    let _ = fs::remove_file(endpoints_of(folder));
    let log = File::options().create(true).append(true).open(folder.path().join("router.log"))?;
    let mut command = Command::new(binary);
    command
        .arg("run")
        .arg("--config")
        .arg(config)
        .env("WAYPOST__LISTEN__ADDRESS", listen.to_string())
        .env("WAYPOST__ADMIN__ADDRESS", "127.0.0.1:0")
        .env("WAYPOST__PLUGINS__FOLDER", folder.path().join("plugins"))
        .env("WAYPOST__ROUTER__STATE_FOLDER", state(folder))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    if let Some(faults) = faults {
        faults.apply(&mut command, folder.path());
    }
    command.spawn().with_context(|| binary.display().to_string())
}

/// Waits until it is ready.
async fn ready(child: &mut Child, folder: &TempDir) -> anyhow::Result<Endpoints> {
    let file = endpoints_of(folder);
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Ok(bytes) = fs::read(&file) {
            return Ok(serde_json::from_slice(&bytes)?);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the router ended with {status}:\n{}", log_of(folder));
        }
        if Instant::now() > deadline {
            bail!("the router was not ready in time:\n{}", log_of(folder));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn log_of(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("router.log")).unwrap_or_default()
}
