//! `cargo xtask demo`: a week of earthquakes through a router that has a plugin replaced under it.
//!
//! The router is a process of its own on free ports. What the demo reports is counted at its subscribers;
//! what must arrive it works out from the input itself.

mod input;
mod publish;
mod report;
mod tally;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use input::Input;
use report::Report;
use tally::Tally;
use waypost_client::{Subscriber, SubscriberOptions};
use waypost_tests::{Config, Router, RouterOptions};

use crate::{build, command::root};

/// What carries a message's place in the input through the route.
const SEQUENCE_HEADER: &str = "demo-sequence";
/// What the router's dead letters of the demo's route stand under.
const DEAD_LETTERS: &str = "$dead.quakes";
/// From the last publish's result to the last message at a subscriber.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object on one line of standard output.
    #[arg(long)]
    json: bool,
    /// Another file of the same feed, one GeoJSON feature a line.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Builds, runs, reports; fails when anything is not as it must be.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let bundled = root().join("tests/data/earthquakes.ndjson");
    let input = Input::read(options.input.as_ref().unwrap_or(&bundled))?;
    let binary = build::router()?;
    let plugins = build::plugins()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let live = !options.json;
    let report = runtime.block_on(async {
        let router = Router::launch(&binary, &router_options(&plugins)).await?;
        let report = observe(&router, &input, live).await;
        let report = report.with_context(|| format!("the router's log:\n{}", router.log()))?;
        router.stop().await?;
        anyhow::Ok(report)
    })?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    report.check(&input, options.input.is_none())
}

/// The demo's configuration, with plugins of its own so that one can be replaced.
fn router_options(plugins: &Path) -> RouterOptions {
    let plugin = |name: &str| (name.to_owned(), plugins.join(format!("{name}.wasm")));
    RouterOptions {
        config: Config::File(root().join("config/waypost.toml")),
        plugins: build::PLUGINS.into_iter().map(plugin).collect(),
        faults: None,
    }
}

async fn observe(router: &Router, input: &Input, live: bool) -> anyhow::Result<Report> {
    let client = router.client().await?;
    let mut quakes = client.subscribe("quakes.>", SubscriberOptions::default()).await?;
    let mut dead = client.subscribe(DEAD_LETTERS, SubscriberOptions::default()).await?;
    let mut tally = Tally::new(input);
    let mut screen = Screen::new(live && io::stderr().is_terminal());

    let (published, reloads) = {
        let publishing = publish::run(&client, input, router);
        tokio::pin!(publishing);
        loop {
            tokio::select! {
                done = &mut publishing => break done?,
                taken = take(&mut quakes, &mut dead, &mut tally) => taken?,
            }
            screen.show(&tally);
        }
    };
    let arriving = async {
        while !tally.is_complete() {
            take(&mut quakes, &mut dead, &mut tally).await?;
            screen.show(&tally);
        }
        anyhow::Ok(())
    };
    // What has not come by then is lost, and the report says so.
    if let Ok(arrived) = tokio::time::timeout(ARRIVAL_TIMEOUT, arriving).await {
        arrived?;
    }
    screen.end();
    client.close().await;
    Ok(Report::new(published, reloads, &tally))
}

/// Counts the next message that arrives at either subscription.
async fn take(
    quakes: &mut Subscriber,
    dead: &mut Subscriber,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let message = tokio::select! {
        message = quakes.recv() => message,
        message = dead.recv() => message,
    };
    match message {
        Some(message) => tally.count(&message?),
        None => bail!("a subscription ended before everything had arrived"),
    }
}

/// One line on a terminal that is written over as messages arrive.
struct Screen {
    is_live: bool,
    shown: usize,
}

impl Screen {
    fn new(is_live: bool) -> Self {
        Self { is_live, shown: 0 }
    }

    fn show(&mut self, tally: &Tally) {
        let arrived = tally.arrived();
        if self.is_live && arrived >= self.shown + 25 {
            self.shown = arrived;
            eprint!("\r{}", tally.line());
            // A terminal that takes nothing is no reason to stop.
            let _ = io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.is_live {
            eprintln!();
        }
    }
}

/// A header's value as a number.
fn number(value: Option<&[u8]>) -> anyhow::Result<usize> {
    let text = std::str::from_utf8(value.context("a message came without its number")?)?;
    Ok(text.parse()?)
}
