//! A test application that shows exactly-once: a producer, a durable route that transforms, and a group that reads
//! what comes out, while the router and the application itself are killed again and again.
//!
//! The router and the producer are processes that end by SIGKILL, also while they start; members of the group leave
//! without a word. A seed decides the load and the moments, as far as processes can be had to repeat themselves. What is checked
//! at the end is only what clients saw: [`Evidence`], which knows nothing of the router.

mod application;
mod evidence;
mod journal;
mod producer;
mod producing;
mod workers;

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;
use serde_json::Value;

pub use self::{
    evidence::{Evidence, Findings, Place},
    producer::{Orders, produce},
};
use self::{producing::Producing, workers::Workers};
use crate::{Config, Router, RouterOptions};

/// Far more than any step of this takes; a run that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the router is asked whether it is through.
const POLL: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Debug, Clone)]
pub struct ChaosOptions {
    /// How often the router is killed.
    pub cycles: u32,
    /// What decides the load and the moments.
    pub seed: u64,
    /// The `waypost` command.
    pub router: PathBuf,
    /// The `waypost-chaos` command, which is the producer.
    pub producer: PathBuf,
    /// The plugins of the route: by the names `wavering` and `transform-json`.
    pub plugins: Vec<(String, PathBuf)>,
}

/// What came of it; the line that is printed.
#[derive(Debug, Clone, Serialize)]
pub struct ChaosReport {
    /// How often the router was killed.
    pub cycles: u32,
    /// Messages that the producer was told are stored.
    pub acked: u64,
    /// What the checker found.
    #[serde(flatten)]
    pub findings: Findings,
    /// From the start of the router's process until it takes clients: 99 of 100 took no longer.
    pub recovery_p99_ms: u64,
    /// What decided the load and the moments.
    pub seed: u64,
    /// Lives of the producer.
    pub producer_lives: u32,
    /// Members of the group that left without a word.
    pub members_died: u64,
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { missing, duplicated, reordered, unexpected } = self.findings;
        writeln!(
            formatter,
            "the router was killed {} times, and took clients again within {} ms in 99 of 100",
            self.cycles, self.recovery_p99_ms
        )?;
        writeln!(
            formatter,
            "its producer had {} lives, and {} members of its group died",
            self.producer_lives, self.members_died
        )?;
        write!(
            formatter,
            "of {} messages that were acknowledged {missing} are missing; {duplicated} are there twice, {reordered} \
             out of order, {unexpected} otherwise wrong (seed {})",
            self.acked, self.seed
        )
    }
}

impl ChaosReport {
    /// Whether everything is as it must be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.acked > 0 && self.findings.is_good()
    }
}

/// Runs the application.
///
/// # Errors
///
/// A part of it does not go on, with the router's log; what the checker finds is no error.
pub async fn run(options: &ChaosOptions) -> anyhow::Result<ChaosReport> {
    let launched = RouterOptions {
        config: Config::Text(application::CONFIG.to_owned()),
        plugins: options.plugins.clone(),
        faults: None,
    };
    let mut router = Router::launch(&options.router, &launched).await?;
    let report = observe(&mut router, options).await;
    let report = report.with_context(|| {
        let log = router.log();
        let lines: Vec<&str> = log.lines().collect();
        // The log of thousands of lives would hide the reason.
        let last = lines.len().saturating_sub(200);
        format!("seed {}; the end of the router's log:\n{}", options.seed, lines[last..].join("\n"))
    })?;
    router.stop().await?;
    Ok(report)
}

async fn observe(router: &mut Router, options: &ChaosOptions) -> anyhow::Result<ChaosReport> {
    let mut moments = Moments(StdRng::seed_from_u64(options.seed));
    let mut producing = Producing::start(&options.producer, router, options.seed).await?;
    let workers = Workers::start(router, options.seed);
    let mut recoveries = Vec::new();
    for cycle in 1..=options.cycles {
        let cycled = kill(router, &mut producing, &mut moments, &mut recoveries);
        let cycled = tokio::time::timeout(PATIENCE, cycled).await;
        cycled.context("it took too long").flatten().with_context(|| format!("cycle {cycle}"))?;
    }
    let (acked, sent, lives) = producing.finish().await?;
    until_through(router).await?;
    let output = held(router, application::OUTPUT_STREAM).await?;
    let given_up = held(router, application::LETTER_STREAM).await?;
    let (work, members_died) = workers.finish(output, given_up).await?;
    let evidence = Evidence { acked, sent, ..work };
    let acked = evidence.acked.len() as u64;
    let findings = evidence.check(application::is_rejected);
    recoveries.sort_unstable();
    Ok(ChaosReport {
        cycles: options.cycles,
        acked,
        findings,
        recovery_p99_ms: percentile(&recoveries, 99),
        seed: options.seed,
        producer_lives: lives,
        members_died,
    })
}

/// One cycle: the router is killed at some moment, and starts again; sometimes it is killed again before it is
/// ready, and sometimes the producer with it.
async fn kill(
    router: &mut Router,
    producing: &mut Producing,
    moments: &mut Moments,
    recoveries: &mut Vec<u64>,
) -> anyhow::Result<()> {
    producing.more(moments.up_to(40)).await?;
    tokio::time::sleep(Duration::from_micros(moments.up_to(30_000))).await;
    let producer_dies = moments.one_in(4);
    let producer_first = moments.one_in(2);
    if producer_dies && producer_first {
        producing.kill().await?;
    }
    router.kill().await?;
    if producer_dies && !producer_first {
        producing.kill().await?;
    }
    if moments.one_in(6) {
        router.restart_for(Duration::from_micros(moments.up_to(300_000))).await?;
    }
    if producer_dies {
        // It waits for the router by itself.
        producing.revive(router)?;
    }
    let begun = Instant::now();
    router.restart().await?;
    recoveries.push(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    Ok(())
}

/// When to do what, as the seed decides.
struct Moments(StdRng);

impl Moments {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0.random_range(1..=most)
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.0.random_ratio(1, many)
    }
}

/// Waits until the route is not behind any more.
async fn until_through(router: &Router) -> anyhow::Result<()> {
    let through = async {
        loop {
            let lag = router.metric("waypost_route_lag_messages").await?;
            let parked = router.metric("waypost_route_partition_parked_messages").await?;
            if lag + parked < 0.5 {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, through).await.context("the route does not catch up")?
}

/// How many messages a stream holds, which is how many whoever reads all of it must see.
async fn held(router: &Router, stream: &str) -> anyhow::Result<u64> {
    let answer: Value = serde_json::from_str(&router.admin("/api/v1/streams").await?)?;
    let streams = answer["streams"].as_array().context("the answer lists no streams")?;
    let found = streams.iter().find(|each| each["name"] == stream);
    let partitions = found.and_then(|found| found["partitions"].as_array());
    let partitions = partitions.with_context(|| format!("the router does not list {stream}"))?;
    ensure!(!partitions.is_empty(), "{stream} has no partitions");
    Ok(partitions.iter().filter_map(|partition| partition["messages"].as_u64()).sum())
}

/// The least of these that so many of a hundred do not exceed; they are sorted.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 99), 198);
        assert_eq!(percentile(&values[..1], 99), 1);
        assert_eq!(percentile(&[], 99), 0);
    }
}
