//! A test application that shows exactly-once: a producer, a durable route that transforms, and a group that reads
//! what comes out, while the router and the application itself are killed again and again.
//!
//! The router and the producer are processes that end by SIGKILL, also while they start; members of the group leave
//! without a word. A seed decides the load and the moments, as far as processes can be had to repeat themselves. What is checked
//! at the end is only what clients saw: [`Evidence`], which knows nothing of the router.

mod application;
mod deaths;
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
use serde::Serialize;
use serde_json::Value;

pub use self::{
    deaths::Deaths,
    evidence::{Evidence, Findings, Place},
    producer::{Orders, produce},
};
use self::{deaths::Moments, producing::Producing, workers::Workers};
use crate::{Config, Faults, Router, RouterOptions};

/// Far more than any step of this takes; a run that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to run.
#[derive(Debug, Clone)]
pub struct ChaosOptions {
    /// How often the router dies.
    pub cycles: u32,
    /// How it does.
    pub deaths: Deaths,
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
    /// How often the router died.
    pub cycles: u32,
    /// How it did.
    pub deaths: &'static str,
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
        let Findings { missing, duplicated, reordered, unexpected, .. } = &self.findings;
        writeln!(
            formatter,
            "the router died {} times ({}), and took clients again within {} ms in 99 of 100",
            self.cycles, self.deaths, self.recovery_p99_ms
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
        faults: options.deaths.library().map(|library| {
            let faults = Faults::new(library.clone());
            match options.deaths {
                Deaths::PowerCut(_) => faults.with_disk(),
                Deaths::Kill | Deaths::Fault(_) => faults,
            }
        }),
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
    let mut moments = Moments::new(options.seed);
    let mut producing = Producing::start(&options.producer, router, options.seed).await?;
    let mut workers = Workers::start(router, options.seed);
    let mut recoveries = Vec::new();
    for cycle in 1..=options.cycles {
        let died = options.deaths.die(router, &mut producing, &mut moments, cycle);
        let died = tokio::time::timeout(PATIENCE, died).await;
        died.context("it took too long").flatten().with_context(|| format!("cycle {cycle}"))?;
        let begun = Instant::now();
        router.restart().await.with_context(|| format!("after cycle {cycle}"))?;
        recoveries.push(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    }
    let (acked, sent, lives) = producing.finish().await?;
    // No gauge tells that nothing is on its way any more: what is missing is what does not come.
    workers.see_messages(acked.len()).await?;
    // What is there twice is there as well.
    let output = held(router, application::OUTPUT_STREAM).await?;
    let given_up = held(router, application::LETTER_STREAM).await?;
    workers.see_places(output, given_up).await?;
    let (work, members_died) = workers.finish().await;
    let evidence = Evidence { acked, sent, ..work };
    let acked = evidence.acked.len() as u64;
    let findings = evidence.check(application::is_rejected);
    recoveries.sort_unstable();
    Ok(ChaosReport {
        cycles: options.cycles,
        deaths: options.deaths.name(),
        acked,
        findings,
        recovery_p99_ms: percentile(&recoveries, 99),
        seed: options.seed,
        producer_lives: lives,
        members_died,
    })
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
