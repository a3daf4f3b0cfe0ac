//! The comparison: every scenario beside the limit and beside peers, on one machine, in turns.
//!
//! Each measurement of a scenario follows one of the limit with the same load, and its figures are held
//! against that one. Rounds go through all scenarios and peers before any comes again, so that what else
//! the machine does meets all of them alike; medians of the ratios are what is told.

mod document;
mod goals;
mod machine;
mod outcome;
pub(crate) mod peers;
mod plan;

use std::{path::PathBuf, time::Instant};

use clap::Args;
use plan::Plan;

use self::{machine::Setting, outcome::Outcome, peers::Peer};
use crate::{
    idle,
    options::Form,
    page,
    process::Program,
    scenario::{Case, Routers, Scenario, Through},
    series::{Series, rate},
};

/// How to compare.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Shorter runs and fewer rounds: within five minutes.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    form: Form,
    /// Write the outcome into this file as well, in Markdown.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Write a page with latency curves and the throughput over time as well.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The waypost command to start, if not the one in the same folder.
    #[arg(long, value_name = "FILE")]
    router: Option<PathBuf>,
    /// Where the plugins are: `byte-filter.wasm` and `transform-json.wasm`.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench/plugins")]
    plugins: PathBuf,
}

/// A case with everything that was measured of it.
struct Compared {
    /// As fast as possible, each run beside the limit.
    peak: Series,
    /// At a tenth of the median peak, and the limit at that rate where half of the peak is measured too.
    tenth: Series,
    /// At half of it.
    half: Option<Series>,
    /// At the rate that is the least for it.
    floor: Option<Series>,
}

/// What became of a peer.
enum PeerOutcome {
    Measured(Series),
    Skipped(String),
}

/// Compares and tells; progress goes to standard error.
pub(crate) async fn run(options: Options, program: &Program) -> anyhow::Result<()> {
    let plan = if options.quick { Plan::quick() } else { Plan::full() };
    let binary = options.router.unwrap_or_else(|| program.sibling("waypost"));
    let setting = Setting::find(&binary)?;
    let routers =
        Routers { binary: binary.clone(), set: Vec::new(), plugins: options.plugins, own: None };
    let through = Through::Started(routers);

    let began = Instant::now();
    let mut peaks: Vec<Series> = plan.cases().iter().map(Series::new).collect();
    let mut peers: Vec<(Peer, PeerOutcome)> = Peer::ALL
        .into_iter()
        .map(|peer| (peer, PeerOutcome::Measured(Series::new(&peer.case(&plan)))))
        .collect();
    for round in 1..=plan.rounds {
        // A round that was begun is finished, or the scenarios would have different numbers of runs.
        if round > 1 && began.elapsed() > plan.time_for_rounds {
            tell(&format!("round {round} is left out: the machine is slow"));
            break;
        }
        for series in &mut peaks {
            let Case { scenario, load } = series.case();
            tell(&format!("round {round}: {}", name(series)));
            let limit = Case { scenario: Scenario::Relay, load };
            series.limits.push(limit.measure(program, &through).await?.into());
            series.runs.push(Case { scenario, ..limit }.measure(program, &through).await?.into());
        }
        for (peer, outcome) in &mut peers {
            if let PeerOutcome::Measured(series) = outcome {
                tell(&format!("round {round}: {}", peer.name()));
                match peer.measure(program, &series.load).await {
                    Ok(Ok(measured)) => series.runs.push(measured.into()),
                    Ok(Err(why)) => *outcome = PeerOutcome::Skipped(why),
                    // What is wrong with a peer does not take the rest with it.
                    Err(error) => {
                        tell(&format!("{}: {error:#}", peer.name()));
                        *outcome = PeerOutcome::Skipped(format!("it failed: {error:#}"));
                    }
                }
            }
        }
    }

    let mut compared = Vec::new();
    for peak in peaks {
        let median = peak.spread(rate).map_or(0.0, |spread| spread.median);
        let paced = async |rate: f64| {
            let mut case = peak.case();
            case.load.rate = Some(rate.max(1.0));
            tell(&format!("at {rate:.0}/s: {}", name(&peak)));
            let mut series = Series::new(&case);
            series.runs.push(case.measure(program, &through).await?.into());
            anyhow::Ok(series)
        };
        let mut tenth = paced(median * 0.1).await?;
        if plan.half(&peak.case()) {
            let limit = Case { scenario: Scenario::Relay, ..tenth.case() };
            tenth.limits.push(limit.measure(program, &through).await?.into());
        }
        let half = if plan.half(&peak.case()) { Some(paced(median * 0.5).await?) } else { None };
        // Beyond its peak there would be nothing to see but a queue that grows.
        let floor = if plan.floor(&peak.case()) && median >= plan::FLOOR_RATE {
            Some(paced(plan::FLOOR_RATE).await?)
        } else {
            None
        };
        compared.push(Compared { peak, tenth, half, floor });
    }

    tell(&format!("{} connections over which nothing goes", plan.idle_connections));
    let idle = idle::measure(program, binary, plan.idle_connections).await.map_err(|error| {
        tell(&format!("idle connections: {error:#}"));
        format!("it failed: {error:#}")
    });

    let outcome = Outcome::new(&compared, &peers, idle, &setting, &plan, began.elapsed());
    if let Some(file) = options.document {
        std::fs::write(&file, document::markdown(&outcome))
            .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    }
    if let Some(file) = options.html {
        let main = || compared.iter().filter(|one| one.peak.load.size == plan::MAIN_SIZE);
        let tenths: Vec<Series> = main().map(|one| one.tenth.clone()).collect();
        let peaks: Vec<Series> = main().map(|one| one.peak.clone()).collect();
        page::write(&file, &document::markdown(&outcome), &tenths, &peaks)?;
    }
    if options.form.is_json() {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        print!("{}", document::markdown(&outcome));
    }
    Ok(())
}

/// Name and size, as `filter/128`.
fn name(series: &Series) -> String {
    format!("{}/{}", series.scenario.name(), series.load.size)
}

fn tell(line: &str) {
    eprintln!("bench: {line}");
}
