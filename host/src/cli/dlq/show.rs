//! `waypost dlq show`: one letter whole.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use anyhow::Context as _;
use waypost_core::LetterAddress;

use super::list::{ago, giver};
use crate::{
    cli::{
        Failure,
        admin::AdminOptions,
        output::{counted, short, write_line},
        print::{Format, write_out},
        shown::printable,
    },
    dlq::LetterDetails,
    router::{ShownKey, ShownPayload, ShownValue},
    time::now_ms,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Its address, as dlq list shows it: STREAM/PARTITION/OFFSET.
    #[arg(value_name = "ADDRESS")]
    letter: LetterAddress,
    /// How to print it; raw is the payload alone.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    output: Format,
    #[command(flatten)]
    admin: AdminOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), Failure> {
    let path = format!("/api/v1/dlq/letters/{}", options.letter);
    let letter: LetterDetails = options.admin.get_shown(&path).await?;
    match options.output {
        Format::Json => Ok(write_line(&letter)?),
        Format::Pretty => Ok(write_out(&told(&letter, now_ms()))?),
        Format::Raw => {
            let payload = match &letter.payload {
                ShownPayload::Payload(text) => text.clone().into_bytes(),
                ShownPayload::PayloadHex(hex) => bytes(hex).context("the payload is cut short")?,
            };
            match io::stdout().lock().write_all(&payload) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
                _ => Ok(()),
            }
        }
    }
}

/// The bytes of hexadecimal digits.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect::<Option<_>>().filter(|_| rest.is_empty())
}

fn told(details: &LetterDetails, now_ms: u64) -> String {
    let LetterDetails { letter, source, plugin, plugin_digest, .. } = details;
    let stage = letter.stage.as_ref().map_or_else(String::new, |stage| format!("/{stage}"));
    let mut text = format!(
        "{}: {}{stage} gave up on {} after {}, {} ago\n",
        letter.address,
        giver(letter.route.as_ref(), letter.group.as_ref()),
        letter.topic,
        counted(letter.attempts.into(), "attempt"),
        ago(letter.failed_ms, now_ms),
    );
    let mut line = |name: &str, value: &str| {
        // A string takes any text.
        let _ = writeln!(text, "  {name}: {value}");
    };
    line("reason", &letter.reason);
    if let Some(digest) = plugin_digest {
        line("plugin", &format!("{} {}", plugin.as_deref().unwrap_or("?"), short(digest)));
    }
    if let Some(source) = source {
        line("source", source);
    }
    line("failed first", &format!("{} ago", ago(details.first_failure_ms, now_ms)));
    line("published", &format!("{} ago", ago(details.created_ms, now_ms)));
    line("error", &printable(letter.error.as_bytes()).replace('\n', "\n    "));
    match &details.key {
        Some(ShownKey::Key(key)) => line("key", &printable(key.as_bytes())),
        Some(ShownKey::KeyHex(hex)) => line("key", &format!("0x{hex}")),
        None => {}
    }
    for header in &details.headers {
        let value = match &header.value {
            ShownValue::Value(value) => printable(value.as_bytes()),
            ShownValue::ValueHex(hex) => format!("0x{hex}"),
        };
        line(&format!("header {}", printable(header.name.as_bytes())), &value);
    }
    let payload = match &details.payload {
        ShownPayload::Payload(payload) => printable(payload.as_bytes()),
        ShownPayload::PayloadHex(hex) => format!("0x{hex}"),
    };
    line(&format!("payload, {}", counted(details.payload_bytes as u64, "byte")), &payload);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dlq::LetterSummary, router::ShownHeader};

    #[test]
    fn a_letter_is_told_whole() {
        let letter = LetterSummary {
            address: "dead/0/17".into(),
            failed_ms: 60_000,
            route: Some("quakes".into()),
            group: None,
            stage: Some("keep".into()),
            reason: "PLUGIN_TRAP".into(),
            error: "unreachable\nat keep".into(),
            attempts: 5,
            topic: "quakes.eu".into(),
        };
        let details = LetterDetails {
            letter,
            created_ms: 0,
            first_failure_ms: 50_000,
            source: Some("quakes/1/9".into()),
            plugin: Some("filter".into()),
            plugin_digest: Some("ab".repeat(32)),
            key: Some(ShownKey::KeyHex("ff00".into())),
            headers: vec![ShownHeader { name: "x".into(), value: ShownValue::Value("1".into()) }],
            payload: ShownPayload::Payload("{}".into()),
            payload_bytes: 2,
        };
        let expected = "dead/0/17: route quakes/keep gave up on quakes.eu after 5 attempts, 10 s ago\n  \
                        reason: PLUGIN_TRAP\n  plugin: filter abababababab\n  source: quakes/1/9\n  \
                        failed first: 20 s ago\n  published: 1 min ago\n  error: unreachable\n    at keep\n  \
                        key: 0xff00\n  header x: 1\n  payload, 2 bytes: {}\n";
        assert_eq!(told(&details, 70_000), expected);
    }

    #[test]
    fn bytes_are_read_from_their_digits() {
        assert_eq!(bytes("00ff"), Some(vec![0, 255]));
        assert_eq!((bytes("0"), bytes("0g")), (None, None));
    }
}
