//! The application that is killed together with its router: `run` is the whole of it, `produce` its producer.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Parser;
use waypost_tests::chaos::{self, ChaosOptions, Deaths, Orders};

/// Shows that nothing is lost and nothing is there twice, however often the router is killed.
#[derive(Debug, Parser)]
enum Task {
    /// Run everything, and say what came of it.
    Run(Run),
    /// Publish until standard input ends.
    Produce(Produce),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// How often the router is killed.
    #[arg(long)]
    cycles: u32,
    /// What decides the load and the moments.
    #[arg(long)]
    seed: u64,
    /// How it dies: by `kill`, by `power-cut`, or of a `fault`.
    #[arg(long, default_value = "kill")]
    deaths: String,
    /// The library that cuts the power and makes faults.
    #[arg(long)]
    faults: Option<PathBuf>,
    /// The `waypost` command.
    #[arg(long)]
    router: PathBuf,
    /// A plugin of the route, as NAME=FILE.
    #[arg(long = "plugin", value_parser = plugin)]
    plugins: Vec<(String, PathBuf)>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Produce {
    #[arg(long)]
    address: std::net::SocketAddr,
    #[arg(long)]
    ca: PathBuf,
    #[arg(long)]
    journal: PathBuf,
    #[arg(long)]
    seed: u64,
}

fn plugin(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("it is no NAME=FILE")?;
    Ok((name.to_owned(), file.into()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Run(options) => run(options).await,
        Task::Produce(Produce { address, ca, journal, seed }) => {
            chaos::produce(Orders { address, ca, journal, seed }).await.map(|()| true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Run) -> anyhow::Result<bool> {
    let Run { cycles, seed, deaths, faults, router, plugins, json } = options;
    let library = faults.context("name the library by --faults");
    let deaths = match deaths.as_str() {
        "kill" => Deaths::Kill,
        "power-cut" => Deaths::PowerCut(library?),
        "fault" => Deaths::Fault(library?),
        other => bail!("{other} is none of kill, power-cut and fault"),
    };
    let producer = std::env::current_exe()?;
    let options = ChaosOptions { cycles, deaths, seed, router, producer, plugins };
    let report = chaos::run(&options).await?;
    for example in &report.findings.examples {
        eprintln!("{example}");
    }
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(report.is_good())
}
