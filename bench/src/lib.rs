//! Load for Waypost, and the limit to hold it against: what `waypost bench` runs.
//!
//! `relay` measures what this machine, this QUIC library and these bytes allow at all: a producer, a
//! relay that only forwards frames, and a consumer, three processes with a current-thread runtime each.
//! The other scenarios send the same messages from the same producer through a router to the same
//! consumer.
//!
//! Every message says when it was due and which one of its producer's it is, so that latency counts from
//! the intended time, and loss, duplicates and order are seen in every run.
//!
//! A lone number says little: quote the ratio of two, out of runs that alternate on one machine.
#![forbid(unsafe_code)]

mod clock;
mod compare;
mod everything;
mod framing;
mod idle;
mod latency;
mod load;
mod measure;
#[cfg(feature = "nats")]
mod nats;
mod options;
mod page;
mod process;
mod receipts;
mod relay;
mod report;
mod request;
mod routed;
mod scenario;
mod series;
mod setup;
mod span;
mod tally;
mod target;
mod transport;
mod usage;
mod window;
mod workload;

pub use options::Options;
use options::{Asked, Command, Measure, Output, Relay, Routed};
use process::Part;
pub use process::Program;
use report::Report;
use scenario::{Case, Scenario, Through};
use series::Series;

/// Runs what the command line asks for. `program` is how to start this again, as each measurement
/// consists of several processes.
///
/// # Errors
///
/// A measurement that failed, with the scenario and the reason.
pub fn run(options: Options, program: &Program) -> anyhow::Result<()> {
    // Threads would only cost: a bare relay lost a fifth on the multi-thread runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(dispatch(options.command, program))
}

async fn dispatch(command: Command, program: &Program) -> anyhow::Result<()> {
    match Asked::from(command) {
        Asked::Routed(measure) => {
            let Measure { scenario, routed, plugins, own } = *measure;
            let Routed { load, limit, output, router } = routed;
            let through = router.through(program, plugins, own);
            let case = Case { scenario, load };
            let series = alternate(&case, limit, output.repeats, program, &through).await?;
            print(&output, &[series])
        }
        Asked::Limit(Relay { load, output }) => {
            let mut series = Series::new(&Case { scenario: Scenario::Relay, load: load.clone() });
            for _ in 0..output.repeats {
                series.runs.push(relay::measure(program, load.clone()).await?.into());
            }
            print(&output, &[series])
        }
        Asked::Idle(options) => idle::run(options, program).await,
        Asked::Comparison(options) => compare::run(options, program).await,
        Asked::Part(part) => process::bounded(play(part)).await,
    }
}

/// Plays a part in a measurement of this program's parent.
async fn play(part: Part) -> anyhow::Result<()> {
    match part {
        Part::RelayNode => relay::node().await,
        Part::RelayProducer => relay::producer().await,
        Part::RelayConsumer => relay::consumer().await,
        Part::RoutedProducer => routed::producer().await,
        Part::RoutedConsumer => routed::consumer().await,
        Part::Requester => request::requester().await,
        Part::Responder => request::responder().await,
        Part::IdleNode => idle::node().await,
        Part::IdleClients => idle::clients().await,
        Part::Beside => everything::beside().await,
        #[cfg(feature = "nats")]
        Part::NatsProducer => nats::clients::producer().await,
        #[cfg(feature = "nats")]
        Part::NatsFilter => nats::clients::filter().await,
        #[cfg(feature = "nats")]
        Part::NatsConsumer => nats::clients::consumer().await,
        #[cfg(feature = "nats")]
        Part::JetStreamProducer => nats::jetstream::producer().await,
    }
}

/// Measures a case so many times, each time behind the limit if that is wanted.
async fn alternate(
    case: &Case,
    limit: bool,
    repeats: u16,
    program: &Program,
    through: &Through,
) -> anyhow::Result<Series> {
    let mut series = Series::new(case);
    for _ in 0..repeats {
        if limit {
            series.limits.push(relay::measure(program, case.load.clone()).await?.into());
        }
        series.runs.push(case.measure(program, through).await?.into());
    }
    Ok(series)
}

fn print(output: &Output, series: &[Series]) -> anyhow::Result<()> {
    if let Some(file) = &output.html {
        page::write(file, &report::table(series), series, series)?;
    }
    if output.form.is_json() {
        println!("{}", serde_json::to_string(&Report { series })?);
    } else {
        print!("{}", report::table(series));
    }
    Ok(())
}
