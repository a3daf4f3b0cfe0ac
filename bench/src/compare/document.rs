//! What was found, in Markdown: `docs/benchmarks.md`, and what a terminal shows.

use std::fmt::{self, Write as _};

use super::{
    goals::Goal,
    outcome::{Floor, IdleFigures, Outcome, PeerFigures, ScenarioFigures},
    peers::Peer,
    plan::FLOOR_RATE,
};

/// Processors that other programs may have before the page warns of it.
const QUIET: f64 = 0.1;

/// The whole page.
pub(super) fn markdown(outcome: &Outcome) -> String {
    let mut text = String::new();
    // A string takes any text.
    let _ = write(&mut text, outcome);
    text
}

fn write(text: &mut String, outcome: &Outcome) -> fmt::Result {
    let Outcome { plan, setting, .. } = outcome;
    text.push_str(
        "# Benchmarks\n\n\
         `cargo xtask bench` wrote this page. Its ratios are of measurements that alternated on one machine; \
         the absolute figures\nare of that machine and of whatever else it did, and say little alone.\n\n",
    );
    if outcome.processors_used_by_others > QUIET {
        writeln!(
            text,
            "**Other programs had {:.2} of the {} processors meanwhile.** Rates and latencies, and the goals made of them, tell \
             who was\nscheduled when; shares by CPU time still mean something.\n",
            outcome.processors_used_by_others, setting.processors
        )?;
    }
    text.push_str("## Goals\n\n| goal | wanted | measured | |\n| --- | --- | --- | --- |\n");
    for Goal { goal, wanted, measured, at_most, met } in &outcome.goals {
        let side = if *at_most { "at most" } else { "at least" };
        let measured = measured.map_or("not measured".to_owned(), short);
        let met = match met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        writeln!(text, "| {goal} | {side} {} | {measured} | {met} |", short(*wanted))?;
    }
    writeln!(
        text,
        "\n## Scenarios\n\n\
         The limit is a bare QUIC relay: the same bytes, TLS, windows and buffers through three processes, \
         with nothing decided\nabout them. It moved {:.0} messages of 128 B a second.\n\n\
         | scenario | of the limit | least to most | by CPU time | router CPU of the relay's | messages/s | p50, µs | p99, µs | \
         p99.9, µs | relay's p50, p99, µs | p99 at half, µs | router memory, MB | lost | duplicated | out of order |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        outcome.limit_msgs_per_s
    )?;
    for (name, figures) in &outcome.scenarios {
        row(text, name, figures)?;
    }
    text.push_str(
        "\nLatency is from when a message was due to when its consumer had it, at a tenth of the scenario's own peak, \
         with batches\narriving at a constant rate, and the relay's with the same load; `p99 at half` is at half of the peak. `by CPU time` is the share of the \
         limit in messages for\na second of CPU time of all three processes: what the share of its rate is where they have \
         the processors to themselves.\n\n",
    );
    for (name, figures) in &outcome.scenarios {
        if let Some(name) = name.strip_suffix("/128") {
            writeln!(text, "- `{name}`: {}.", figures.description)?;
        }
        if let Some(Floor { msgs_per_s, mean_us, p99_us, delivered }) = figures.floor {
            writeln!(
                text,
                "- `{name}`: {}. At {FLOOR_RATE:.0} messages a second: {msgs_per_s:.0} came, mean {mean_us:.0} µs, p99 {p99_us:.0} µs, \
                 {delivered:.4} % delivered.",
                figures.description
            )?;
        }
    }
    text.push_str(
        "\n## Acknowledgements\n\n\
         From when a message was due to its publisher's word of it, at a tenth of the peak. `durable` counts by these, and \
         what it is\nacknowledged for is synced; in memory it is in the queues of all who read it.\n\n\
         | scenario | acknowledged/s | delivered/s | p50, µs | p99, µs |\n| --- | --- | --- | --- | --- |\n",
    );
    for (name, figures) in &outcome.scenarios {
        if let (Some(acknowledged), Some(p50), Some(p99)) =
            (figures.acknowledged_per_s, figures.ack_p50_us, figures.ack_p99_us)
        {
            let (acknowledged, delivered) = (acknowledged.median, figures.delivered_per_s);
            writeln!(
                text,
                "| `{name}` | {acknowledged:.0} | {delivered:.0} | {p50:.0} | {p99:.0} |"
            )?;
        }
    }
    text.push_str(
        "\n## Peers, 128 B\n\n| peer | messages/s | lost | |\n| --- | --- | --- | --- |\n",
    );
    for peer in Peer::ALL {
        let (name, what) = (peer.name(), peer.description());
        match outcome.peers.get(name) {
            Some(PeerFigures::Measured { msgs_per_s, lost }) => {
                writeln!(text, "| `{name}` | {} | {lost} | {what} |", msgs_per_s.text(0))?;
            }
            Some(PeerFigures::Skipped { skipped }) => {
                writeln!(text, "| `{name}` | | | skipped: {skipped} |")?;
            }
            None => {}
        }
    }
    text.push_str(
        "\nA peer's messages have the payload alone, ours a key and two headers beside it. Its producer stays within \
         32,768\nmessages of its consumer, as NATS drops what a slow consumer does not take.\n",
    );
    text.push_str("\n## Idle connections\n\n");
    match &outcome.idle {
        IdleFigures::Measured(idle) => writeln!(text, "{idle}.")?,
        IdleFigures::Skipped { skipped } => writeln!(text, "Skipped: {skipped}.")?,
    }
    writeln!(
        text,
        "\n## Machine and settings\n\n\
         - {} processors, {}; Linux {}; socket buffers up to {} KiB",
        setting.processors,
        setting.processor,
        setting.kernel,
        setting.socket_buffer_bytes.unwrap_or_default() / 1024,
    )?;
    if let Some(bytes) = setting.memory_bytes {
        writeln!(text, "- {:.1} GB of memory", bytes as f64 / 1e9)?;
    }
    writeln!(
        text,
        "- {}, with its default configuration; one router for each run",
        setting.router
    )?;
    if let Some(files) = &setting.files {
        writeln!(text, "- streams in {files}")?;
    }
    if let Some(nats) = &setting.nats_server {
        writeln!(text, "- {nats}")?;
    }
    writeln!(
        text,
        "- {} rounds of {} s after {} s of warm-up; batches of {}, {} connection that publishes; {:.0} s in all\n\
         - other programs had {:.2} processors meanwhile, and {:.2} were stolen by a hypervisor",
        outcome.rounds,
        plan.seconds,
        plan.warm_up_seconds,
        plan.batch,
        plan.connections,
        outcome.seconds,
        outcome.processors_used_by_others,
        outcome.processors_stolen,
    )
}

fn row(text: &mut String, name: &str, figures: &ScenarioFigures) -> fmt::Result {
    let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    let range = figures.of_limit_range;
    writeln!(
        text,
        "| `{name}` | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} | {} | {} |",
        ratio(figures.of_limit.map(|spread| spread.median)),
        range.map_or(String::new(), |(least, most)| format!("{least:.2} to {most:.2}")),
        ratio(figures.of_limit_by_cpu.map(|spread| spread.median)),
        ratio(figures.cpu_of_limit.map(|spread| spread.median)),
        figures.msgs_per_s.median,
        figures.p50_us,
        figures.p99_us,
        figures.p999_us,
        figures
            .limit_p50_us
            .zip(figures.limit_p99_us)
            .map_or(String::new(), |(p50, p99)| format!("{p50:.0}, {p99:.0}")),
        figures.p99_at_half_us.map_or(String::new(), |value| format!("{value:.0}")),
        figures
            .router_peak_bytes
            .map_or(String::new(), |bytes| format!("{:.0}", bytes as f64 / 1e6)),
        figures.lost,
        figures.duplicated,
        figures.out_of_order,
    )
}

/// Two digits behind the point where they matter.
fn short(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}
