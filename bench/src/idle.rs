//! What a connection over which nothing goes takes of the router's memory, beside what it takes of a bare endpoint's.
//!
//! The bare endpoint has the same TLS, windows and buffers, and one open stream for each connection, as the router has.
//! What it takes is QUIC's part; the rest of what the router takes is its own.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    framing::{self, Frames},
    measure::{Event, Order},
    options::Form,
    process::{Child, Parent, Part, Program},
    scenario::Routers,
    setup::{Setup, TOPIC_IN},
    target::{Router, Target},
    transport::{self, Certificate},
    usage,
};

/// Some are made before the measurement, so that what the first ones bring is not counted.
const EARLIER: u16 = 100;
/// How many are made at the same time.
const TOGETHER: usize = 16;
/// What a handshake leaves behind is gone by then.
const REST: Duration = Duration::from_secs(1);

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Connections over which nothing goes.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    connections: u16,
    #[command(flatten)]
    form: Form,
    /// The waypost command to start, if not the one in the same folder.
    #[arg(long, value_name = "FILE")]
    router: Option<PathBuf>,
}

/// Resident memory for a connection, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Idle {
    pub(crate) connections: u16,
    /// What the router takes.
    pub(crate) router_bytes: f64,
    /// What a bare endpoint takes.
    pub(crate) bare_bytes: f64,
    /// The router's own part: the difference.
    pub(crate) own_bytes: f64,
}

impl fmt::Display for Idle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, router_bytes, bare_bytes, own_bytes } = self;
        write!(
            formatter,
            "Of {connections} connections over which nothing goes, each takes {router_bytes:.0} bytes of the router's \
             memory, and {bare_bytes:.0} of a bare QUIC endpoint's: {own_bytes:.0} are the router's own"
        )
    }
}

/// What whoever connects is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Task {
    to: Host,
    connections: u16,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Host {
    Router(Target),
    Bare { address: SocketAddr, certificate: Certificate },
}

/// Measures and tells.
pub(crate) async fn run(options: Options, program: &Program) -> anyhow::Result<()> {
    let binary = options.router.unwrap_or_else(|| program.sibling("waypost"));
    let idle = measure(program, binary, options.connections).await?;
    if options.form.is_json() {
        println!("{}", serde_json::to_string(&idle)?);
    } else {
        println!("{idle}.");
    }
    Ok(())
}

/// The parent's side.
pub(crate) async fn measure(
    program: &Program,
    binary: PathBuf,
    connections: u16,
) -> anyhow::Result<Idle> {
    let bare_bytes = {
        let certificate = Certificate::generate()?;
        let mut node = Child::start(program, Part::IdleNode)?;
        node.send(&certificate).await?;
        let address = node.receive().await?;
        let to = Host::Bare { address, certificate };
        each(program, node.pid()?, &to, connections).await.context("a bare endpoint")?
    };
    let most = connections.saturating_add(EARLIER);
    let set = vec![format!("listen.max_connections={}", u32::from(most) + 1)];
    let routers = Routers { binary, set, plugins: PathBuf::new(), own: None };
    let setup = Setup::default();
    let router = Router::start(&setup.start(&routers)?).await?;
    let to = Host::Router(router.target(TOPIC_IN, setup.topic_out())?);
    let pid = router.pid().context("the router has ended")?;
    let router_bytes = each(program, pid, &to, connections).await.context("the router")?;
    Ok(Idle { connections, router_bytes, bare_bytes, own_bytes: router_bytes - bare_bytes })
}

/// What each of so many connections adds to the memory of a process.
async fn each(program: &Program, pid: u32, to: &Host, connections: u16) -> anyhow::Result<f64> {
    let connect = |connections| async move {
        let task = Task { to: to.clone(), connections };
        let child = Child::begin(program, Part::IdleClients, &task).await?;
        tokio::time::sleep(REST).await;
        anyhow::Ok((child, usage::memory(pid)?))
    };
    let (_earlier, before) = connect(EARLIER).await?;
    let (_clients, after) = connect(connections).await?;
    Ok((after as f64 - before as f64) / f64::from(connections))
}

/// The bare endpoint: takes connections with a stream each, and waits.
pub(crate) async fn node() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let endpoint = transport::listen(&parent.receive().await?)?;
    Parent::send(&endpoint.local_addr()?)?;
    let mut held = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        held.spawn(async move {
            let connection = incoming.await?;
            let (_send, receive) = connection.accept_bi().await?;
            let mut frames = Frames::new(receive);
            while frames.next().await?.is_some() {}
            anyhow::Ok(())
        });
    }
    Ok(())
}

/// Those who connect, and then wait to be told to go.
pub(crate) async fn clients() -> anyhow::Result<()> {
    let mut parent = Parent::new();
    let Task { to, connections } = parent.receive().await?;
    match to {
        Host::Router(target) => {
            let connect = |_| target.connect("idle");
            hold(&mut parent, connections, connect).await
        }
        Host::Bare { address, certificate } => {
            let certificate = &certificate;
            let connect = |_| async move {
                let (endpoint, connection) = transport::connect(address, certificate).await?;
                let (mut send, receive) = connection.open_bi().await?;
                framing::write(&mut send, bytes::Bytes::new()).await?;
                anyhow::Ok((endpoint, connection, send, receive))
            };
            hold(&mut parent, connections, connect).await
        }
    }
}

async fn hold<T, F: Future<Output = anyhow::Result<T>>>(
    parent: &mut Parent,
    connections: u16,
    connect: impl Fn(u16) -> F,
) -> anyhow::Result<()> {
    let held = stream::iter(0..connections).map(connect).buffer_unordered(TOGETHER);
    let held: Vec<T> = held.try_collect().await.context(
        "each connection has a socket of its own: `ulimit -n` says how many files may be open",
    )?;
    Parent::send(&Event::Ready)?;
    let _: Order = parent.receive().await?;
    drop(held);
    Ok(())
}
