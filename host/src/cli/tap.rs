//! `waypost tap`: messages as they pass through a running router, with each stage's verdict.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    ops::ControlFlow,
};

use anyhow::Context as _;
use waypost_core::RouteName;
use waypost_protocol::Pattern;

use super::{
    Failure,
    admin::AdminOptions,
    connection::runtime,
    output::{Format, counted},
    shown::{Colours, printable},
};
use crate::{
    admin::TapLine,
    router::{ShownKey, ShownPayload, ShownValue, ShownVerdict, Sight, TapEvent},
};

/// What to watch.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The pattern of the topics that messages have where they are seen.
    pattern: Pattern,
    /// Only in this route.
    #[arg(long, value_parser = route)]
    route: Option<RouteName>,
    /// End after so many.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How many to show in a second; what passes beyond it is passed over and counted.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_second: u32,
    /// How much of a payload to show, in bytes.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=4096))]
    payload_bytes: u32,
    /// How to print it; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    admin: AdminOptions,
}

fn route(text: &str) -> Result<RouteName, String> {
    RouteName::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    runtime()?.block_on(async {
        tokio::select! {
            done = watch(options) => Ok(done?),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

async fn watch(options: &Options) -> anyhow::Result<()> {
    let mut path = format!(
        "/api/v1/tap?pattern={}&per_second={}&payload_bytes={}",
        options.pattern.as_str().replace('>', "%3E"),
        options.per_second,
        options.payload_bytes
    );
    if let Some(route) = &options.route {
        // A string takes any text.
        let _ = write!(path, "&route={route}");
    }
    let format = Format::or_default(options.output);
    let (mut out, mut seen) = (io::stdout().lock(), 0);
    let colours = Colours::of_stdout();
    let print = |line: &[u8]| {
        if line.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let told: TapLine = serde_json::from_slice(line)
            .context("the router says what no router of this version says")?;
        let sight = match told {
            TapLine::Seen(sight) => sight,
            TapLine::PassedOver { passed_over } => {
                eprintln!("{passed_over} more went by; narrow the pattern, or raise --per-second");
                return Ok(ControlFlow::Continue(()));
            }
        };
        seen += 1;
        let text = match format {
            Format::Json => [line, b"\n"].concat(),
            Format::Pretty => pretty(&sight, colours).into_bytes(),
        };
        match out.write_all(&text).and_then(|()| out.flush()) {
            // Whoever closed the other end of a pipe has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(error.into()),
            Ok(()) if options.count.is_some_and(|count| seen >= count) => {
                Ok(ControlFlow::Break(()))
            }
            Ok(()) => Ok(ControlFlow::Continue(())),
        }
    };
    options.admin.follow(&path, print).await
}

/// Topic, key and what became of the message; below it the headers and the payload.
fn pretty(sight: &Sight, colours: Colours) -> String {
    let Colours { bold, dim, plain } = colours;
    let key = match &sight.key {
        Some(ShownKey::Key(key)) => format!(" {dim}key{plain} {}", printable(key.as_bytes())),
        Some(ShownKey::KeyHex(hex)) => format!(" {dim}key{plain} 0x{hex}"),
        None => String::new(),
    };
    let (topic, event) =
        (printable(sight.topic.as_bytes()), printable(event(&sight.event).as_bytes()));
    let mut text = format!("{bold}{topic}{plain}{key}  {event}\n");
    for header in &sight.headers {
        let value = match &header.value {
            ShownValue::Value(value) => printable(value.as_bytes()),
            ShownValue::ValueHex(hex) => format!("0x{hex}"),
        };
        // A string takes any text.
        let _ = writeln!(text, "  {dim}{}:{plain} {value}", printable(header.name.as_bytes()));
    }
    let (payload, shown) = match &sight.payload {
        ShownPayload::Payload(payload) => (printable(payload.as_bytes()), payload.len()),
        ShownPayload::PayloadHex(hex) => (format!("0x{hex}"), hex.len() / 2),
    };
    let more = match sight.payload_bytes.saturating_sub(shown) {
        0 => String::new(),
        more => format!(" {dim}({more} bytes more){plain}"),
    };
    let _ = writeln!(text, "  {payload}{more}");
    text
}

/// A verdict, as people say it.
pub(super) fn said(verdict: &ShownVerdict) -> String {
    match verdict {
        ShownVerdict::Forward => "forward".to_owned(),
        ShownVerdict::Drop => "drop".to_owned(),
        ShownVerdict::Emit(topics) => {
            format!("emit on {}", printable(topics.join(", ").as_bytes()))
        }
        ShownVerdict::Retry(ms) => format!("retry after {ms} ms"),
        ShownVerdict::Reject(reason) => format!("reject: {}", printable(reason.as_bytes())),
        ShownVerdict::Wait => "wait for an earlier one with its key".to_owned(),
    }
}

fn event(event: &TapEvent) -> String {
    let takers = |routes: &[String], subscriptions: usize| {
        let mut takers = Vec::new();
        if !routes.is_empty() {
            takers.push(format!("to {}", routes.join(", ")));
        }
        if subscriptions > 0 {
            takers.push(format!("to {}", counted(subscriptions as u64, "subscription")));
        }
        if takers.is_empty() { "to nobody".to_owned() } else { takers.join(", ") }
    };
    match event {
        TapEvent::Published { routes, subscriptions } => {
            format!("published {}", takers(routes, *subscriptions))
        }
        TapEvent::Verdict { route, stage, version, verdict } => {
            format!("{route}/{stage} {version}: {}", said(verdict))
        }
        TapEvent::Dead { route, stage, reason, error } => {
            let stage = stage.as_ref().map_or_else(String::new, |stage| format!("/{stage}"));
            format!("{route}{stage}: dead letter, {reason}: {error}")
        }
        TapEvent::Left { route, routes, subscriptions } => {
            format!("left {route} {}", takers(routes, *subscriptions))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_guest_says_steers_the_terminal() {
        let verdict = ShownVerdict::Emit(vec!["a\x1b[2J".to_owned(), "b".to_owned()]);
        assert_eq!(said(&verdict), "emit on a\u{fffd}[2J, b");
        let event = |event: serde_json::Value| {
            let mut sight = serde_json::json!({
                "at_ms": 0, "topic": "t", "headers": [], "payload": "x", "payload_bytes": 1,
            });
            sight
                .as_object_mut()
                .expect("an object")
                .extend(event.as_object().cloned().expect("one"));
            let sight: Sight = serde_json::from_value(sight).expect("it is one");
            pretty(&sight, Colours::default())
        };
        let dead = event(serde_json::json!({
            "event": "dead", "route": "r", "stage": "s", "reason": "PLUGIN_TRAP", "error": "\x1b]0;x\x07",
        }));
        assert_eq!(dead, "t  r/s: dead letter, PLUGIN_TRAP: \u{fffd}]0;x\u{fffd}\n  x\n");
        let verdict = event(serde_json::json!({
            "event": "verdict", "route": "r", "stage": "s", "version": "1\x1b[1m",
            "verdict": { "emit": ["a\x1bc"] },
        }));
        assert_eq!(verdict, "t  r/s 1\u{fffd}[1m: emit on a\u{fffd}c\n  x\n");
    }
}
