//! How commands print what a router told them.

use std::io::{self, IsTerminal as _};

use serde::Serialize;

use super::{print::write_out, shown::printable};

/// Digits of a digest that are shown to people.
const SHORT_DIGEST: usize = 12;

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// JSON, each object on one line.
    Json,
    /// For people.
    Pretty,
}

impl Format {
    /// What was said; otherwise pretty on a terminal and JSON elsewhere.
    pub(super) fn or_default(said: Option<Self>) -> Self {
        let default = if io::stdout().is_terminal() { Self::Pretty } else { Self::Json };
        said.unwrap_or(default)
    }
}

/// How to tell what a command did, for commands whose work is the point and not their answer.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct OutcomeOptions {
    /// How to tell what was done: pretty on standard error, json on standard output.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    output: Format,
}

impl OutcomeOptions {
    /// What was said.
    pub(super) fn format(self) -> Format {
        self.output
    }

    /// Tells it.
    pub(super) fn tell(self, outcome: &impl Serialize, pretty: &str) -> anyhow::Result<()> {
        match self.output {
            Format::Json => write_line(outcome),
            Format::Pretty => {
                eprintln!("{}", printable(pretty.as_bytes()));
                Ok(())
            }
        }
    }
}

/// Writes an object on one line of standard output.
pub(super) fn write_line(object: &impl Serialize) -> anyhow::Result<()> {
    Ok(write_out(&(serde_json::to_string(object)? + "\n"))?)
}

/// A number of things, as people say it.
pub(super) fn counted(number: u64, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

/// A time in the unit that people would say it in.
pub(super) fn span(nanoseconds: f64) -> String {
    let units = [("s", 1e9), ("ms", 1e6), ("µs", 1e3)];
    // What would be shown as a thousand is one of the next.
    let (unit, factor) = units
        .into_iter()
        .find(|(_, factor)| nanoseconds >= factor * 0.99995)
        .unwrap_or(("ns", 1.0));
    format!("{:.1} {unit}", nanoseconds / factor)
}

/// The beginning of a digest, which is enough to tell it from others.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..SHORT_DIGEST).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_a_unit_that_fits() {
        let told = [0.0, 999.9, 999.96, 2500.0, 39_609_200.0, 999_960_000.0, 7.26e9].map(span);
        assert_eq!(told, ["0.0 ns", "999.9 ns", "1.0 µs", "2.5 µs", "39.6 ms", "1.0 s", "7.3 s"]);
    }
}
