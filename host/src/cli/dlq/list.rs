//! `waypost dlq list`: letters in lines, or counted.

use std::fmt::Write as _;

use super::choose::{FilterOptions, go_on, query};
use crate::{
    cli::{
        Failure,
        admin::AdminOptions,
        output::{Format, counted, write_line},
        print::write_out,
        shown::printable,
    },
    dlq::{LetterCounts, LetterPage, LetterSummary},
    time::now_ms,
};

/// Letters that are asked for at once.
const AT_ONCE: u32 = 500;
/// What is shown of an error, in characters.
const ERROR_CHARACTERS: usize = 80;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    filter: FilterOptions,
    /// How many to list at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Count all of them instead, by who gave up on them and why.
    #[arg(long, conflicts_with = "limit")]
    summary: bool,
    /// How to print it; pretty on a terminal and json, one letter a line, elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    admin: AdminOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), Failure> {
    if options.summary { summarise(options).await } else { list(options).await }
}

async fn list(options: &Options) -> Result<(), Failure> {
    let format = Format::or_default(options.output);
    let (mut wanted, mut left, mut is_first) =
        (options.filter.wanted(AT_ONCE), options.limit, true);
    let (mut found, mut damaged) = (0_u64, 0);
    while left > 0 {
        wanted.limit = Some(u32::try_from(left).map_or(AT_ONCE, |left| left.min(AT_ONCE)));
        let path = format!("/api/v1/dlq{}", query(&wanted));
        let page: LetterPage = options.admin.get_shown(&path).await?;
        if std::mem::take(&mut is_first) {
            tell_not_kept(&page.not_kept);
        }
        for letter in &page.letters {
            match format {
                Format::Json => write_line(letter)?,
                Format::Pretty => write_out(&line(letter, now_ms()))?,
            }
        }
        found += page.letters.len() as u64;
        left = left.saturating_sub(page.letters.len() as u64);
        damaged += page.damaged;
        if !go_on(&mut wanted, page.next, page.until_ms) {
            break;
        }
    }
    if format == Format::Pretty && found == 0 {
        write_out("no dead letters\n")?;
    }
    if left == 0 && wanted.from.is_some() {
        eprintln!("there may be more; raise --limit, or count them with --summary");
    }
    tell_damaged(damaged);
    Ok(())
}

async fn summarise(options: &Options) -> Result<(), Failure> {
    let mut wanted = options.filter.wanted(AT_ONCE);
    let mut sum = LetterCounts::default();
    loop {
        let path = format!("/api/v1/dlq/counts{}", query(&wanted));
        let counts: LetterCounts = options.admin.get_shown(&path).await?;
        for count in counts.counts {
            match sum.counts.iter_mut().find(|known| known.is_like(&count)) {
                Some(known) => known.add(&count),
                None => sum.counts.push(count),
            }
        }
        sum.damaged += counts.damaged;
        (sum.until_ms, sum.not_kept) = (counts.until_ms, counts.not_kept);
        if !go_on(&mut wanted, counts.next, counts.until_ms) {
            break;
        }
    }
    tell_not_kept(&sum.not_kept);
    tell_damaged(sum.damaged);
    match Format::or_default(options.output) {
        Format::Json => Ok(write_line(&sum)?),
        Format::Pretty => Ok(write_out(&table(&sum, now_ms()))?),
    }
}

/// On standard error, so that what is listed stays what it is.
fn tell_not_kept(routes: &[String]) {
    if !routes.is_empty() {
        eprintln!("{}", not_kept(routes));
    }
}

fn tell_damaged(damaged: u64) {
    if damaged > 0 {
        eprintln!("{} damaged and passed over", counted(damaged, "message"));
    }
}

/// How the letters of routes come to be kept, in one line.
fn not_kept(routes: &[String]) -> String {
    let topic = match routes {
        [one] => format!("$dead.{one}"),
        _ => "$dead.>".to_owned(),
    };
    format!(
        "the dead letters of {} are not kept: give a [[stream]] the topics [\"{topic}\"] and start the router anew",
        routes.join(", ")
    )
}

fn line(letter: &LetterSummary, now_ms: u64) -> String {
    let stage = letter.stage.as_ref().map_or_else(String::new, |stage| format!("/{stage}"));
    let error: String = letter.error.chars().take(ERROR_CHARACTERS).collect();
    let error = printable(error.lines().next().unwrap_or_default().as_bytes());
    format!(
        "{}  {} ago  {}{stage}  {} after {}  {}  {error}\n",
        letter.address,
        ago(letter.failed_ms, now_ms),
        giver(letter.route.as_ref(), letter.group.as_ref()),
        letter.reason,
        counted(letter.attempts.into(), "attempt"),
        letter.topic,
    )
}

fn table(sum: &LetterCounts, now_ms: u64) -> String {
    let mut text = String::new();
    for count in &sum.counts {
        // A string takes any text.
        let _ = writeln!(
            text,
            "{}  {}  {}, {} to {} ago",
            giver(count.route.as_ref(), count.group.as_ref()),
            count.reason,
            counted(count.letters, "letter"),
            ago(count.oldest_ms, now_ms),
            ago(count.newest_ms, now_ms),
        );
    }
    if text.is_empty() { "no dead letters\n".to_owned() } else { text }
}

pub(super) fn giver(route: Option<&String>, group: Option<&String>) -> String {
    match (route, group) {
        (Some(route), _) => format!("route {route}"),
        (None, group) => format!("group {}", group.map_or("", String::as_str)),
    }
}

/// How long ago a time is, in the largest unit that has a whole one.
pub(super) fn ago(at_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::LetterCount;

    #[test]
    fn a_letter_is_a_line_that_steers_no_terminal() {
        let letter = LetterSummary {
            address: "dead/0/17".into(),
            failed_ms: 5_000,
            route: Some("quakes".into()),
            group: None,
            stage: Some("keep".into()),
            reason: "PLUGIN_TRAP".into(),
            error: "unreach\u{1b}able\nbacktrace".into(),
            attempts: 1,
            topic: "quakes.eu".into(),
        };
        let expected = "dead/0/17  2 min ago  route quakes/keep  PLUGIN_TRAP after 1 attempt  quakes.eu  \
                        unreach\u{fffd}able\n";
        assert_eq!(line(&letter, 130_000), expected);
    }

    #[test]
    fn letters_are_counted_by_kind_and_what_is_not_kept_is_told_in_a_line() {
        let count = LetterCount {
            route: None,
            group: Some("mailers".into()),
            reason: "ATTEMPTS_EXHAUSTED".into(),
            letters: 2,
            oldest_ms: 0,
            newest_ms: 9_000,
        };
        let sum = LetterCounts { counts: vec![count], ..LetterCounts::default() };
        let expected = "group mailers  ATTEMPTS_EXHAUSTED  2 letters, 10 s to 1 s ago\n";
        assert_eq!(table(&sum, 10_000), expected);
        assert_eq!(table(&LetterCounts::default(), 0), "no dead letters\n");
        let one = not_kept(&["a".to_owned()]);
        assert!(one.contains("of a are not kept") && one.contains("[\"$dead.a\"]"), "{one}");
        assert!(not_kept(&["a".to_owned(), "b".to_owned()]).contains("[\"$dead.>\"]"));
    }

    #[test]
    fn a_time_is_told_in_its_largest_unit() {
        let seconds = [(59, "59 s"), (61, "1 min"), (7300, "2 h"), (200_000, "2 d")];
        for (seconds, expected) in seconds {
            assert_eq!(ago(0, seconds * 1000), expected);
        }
    }
}
