//! Runs stories of the simulator: `cargo xtask sim`.
#![forbid(unsafe_code)]

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use waypost_sim::{Counts, run, tell};

/// Tell stories from seeds, and say whether every promise was kept.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim")]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Tell what happens in this seed alone, line by line.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    trace: Option<u64>,
    /// Print the counts as one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let seeds = match options.trace {
        Some(seed) => {
            let (_, story) = tell(seed);
            story.iter().for_each(|line| println!("{line}"));
            seed..seed.saturating_add(1)
        }
        None => options.from..options.from.saturating_add(options.seeds),
    };
    let (mut counts, mut told, mut failed) = (Counts::default(), 0_u64, Vec::new());
    let began = Instant::now();
    for seed in seeds {
        let report = run(seed);
        told += 1;
        counts += report.counts;
        if let Some(failure) = report.failure {
            println!("seed {seed}, {failure}");
            println!("  again: cargo xtask sim --trace {seed}");
            failed.push(seed);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    summary(&counts, told, &failed, seconds, options.json);
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn summary(counts: &Counts, told: u64, failed: &[u64], seconds: f64, is_json: bool) {
    let Counts {
        steps, published, acknowledged, duplicates, outputs, dead, given, confirmed, ..
    } = counts;
    let Counts { replayed, passed, trimmed, crashes, torn, lost, .. } = counts;
    if is_json {
        let object = serde_json::json!({
            "seeds": told, "failed": failed, "seconds": seconds, "steps": steps,
            "published": published, "acknowledged": acknowledged, "duplicates": duplicates,
            "outputs": outputs, "dead_letters": dead, "replayed": replayed, "expired": passed, "trimmed": trimmed, "given": given, "confirmed": confirmed,
            "router_crashes": crashes, "torn_units": torn, "connections_lost": lost,
        });
        println!("{object}");
        return;
    }
    println!(
        "{told} seeds, {} failed, in {seconds:.1} s: {steps} steps, {published} published, {acknowledged} \
         acknowledged, {duplicates} sent twice, {outputs} outputs, {dead} dead letters, {replayed} replayed, {passed} expired, {trimmed} trimmed, {given} given out, \
         {confirmed} confirmed, {crashes} router crashes, {torn} torn units, {lost} connections lost",
        failed.len(),
    );
}
