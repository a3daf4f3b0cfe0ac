//! Which letters are meant: by their addresses, or by what they are.

use anyhow::bail;
use waypost_core::{GroupName, LetterAddress, RouteName, StreamName};

use crate::{
    cli::values::moment,
    dlq::{LetterSelection, Wanted},
};

/// What letters are to be.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct FilterOptions {
    /// Those that this stream keeps.
    #[arg(long, value_parser = StreamName::parse)]
    stream: Option<StreamName>,
    /// Those that this route gave up on.
    #[arg(long, value_parser = RouteName::parse)]
    route: Option<RouteName>,
    /// Those that this group gave up on.
    #[arg(long, value_parser = GroupName::parse, conflicts_with = "route")]
    group: Option<GroupName>,
    /// Those with this reason, such as PLUGIN_TRAP.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Those that failed since then: how long ago as in 10m, or @ and milliseconds since the Unix epoch.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Those that failed before then.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
}

/// Letters by their addresses, or by filters.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ChoiceOptions {
    /// Their addresses, as dlq list shows them: STREAM/PARTITION/OFFSET.
    #[arg(value_name = "ADDRESS")]
    letters: Vec<LetterAddress>,
    #[command(flatten)]
    filter: FilterOptions,
    /// Every letter that there is.
    #[arg(long, conflicts_with = "letters")]
    all: bool,
}

impl FilterOptions {
    /// What is asked of the router first.
    pub(super) fn wanted(&self, limit: u32) -> Wanted {
        Wanted {
            stream: self.stream.as_ref().map(|name| name.as_str().to_owned()),
            route: self.route.as_ref().map(|name| name.as_str().to_owned()),
            group: self.group.as_ref().map(|name| name.as_str().to_owned()),
            reason: self.reason.clone(),
            since_ms: self.since,
            until_ms: self.until,
            from: None,
            limit: Some(limit),
        }
    }

    fn is_empty(&self) -> bool {
        let Self { stream, route, group, reason, since, until } = self;
        stream.is_none()
            && route.is_none()
            && group.is_none()
            && reason.is_none()
            && since.is_none()
            && until.is_none()
    }
}

impl ChoiceOptions {
    /// What is asked of the router first; so many at once where a filter says which.
    pub(super) fn selection(&self, at_once: u32) -> anyhow::Result<LetterSelection> {
        let Self { letters, filter, all } = self;
        match (letters.is_empty(), filter.is_empty() && !all) {
            (false, true) => {
                let letters = letters.iter().map(ToString::to_string).collect();
                Ok(LetterSelection { letters, filter: None })
            }
            (true, false) => {
                Ok(LetterSelection { letters: Vec::new(), filter: Some(filter.wanted(at_once)) })
            }
            (true, true) => {
                bail!("name letters by their addresses, or say which by a filter, or --all")
            }
            (false, false) => bail!("name letters or say which by a filter, not both"),
        }
    }

    /// Whether letters are named one by one.
    pub(super) fn is_named(&self) -> bool {
        !self.letters.is_empty()
    }
}

/// Goes on where the last answer ended. Says whether there is more.
pub(super) fn go_on(wanted: &mut Wanted, next: Option<String>, until_ms: Option<u64>) -> bool {
    let is_more = next.is_some();
    (wanted.from, wanted.until_ms) = (next, until_ms);
    is_more
}

/// The same for letters that were named, of which one answer has as many as one change takes.
pub(super) fn go_on_with(
    selection: &mut LetterSelection,
    next: Option<String>,
    until_ms: u64,
) -> anyhow::Result<bool> {
    if let Some(wanted) = &mut selection.filter {
        return Ok(go_on(wanted, next, Some(until_ms)));
    }
    let Some(next) = next else {
        return Ok(false);
    };
    let next: LetterAddress = next.parse()?;
    let is_left = |letter: &LetterAddress| *letter >= next;
    let before = selection.letters.len();
    selection.letters.retain(|letter| letter.parse().as_ref().is_ok_and(is_left));
    // An answer that goes on where it began would never end.
    Ok((1..before).contains(&selection.letters.len()))
}

/// A request's query.
pub(super) fn query(wanted: &Wanted) -> String {
    use std::fmt::Write as _;
    let numbers = [("since_ms", wanted.since_ms), ("until_ms", wanted.until_ms)];
    let numbers = numbers.map(|(name, number)| (name, number.map(|number| number.to_string())));
    let limit = ("limit", wanted.limit.map(|limit| limit.to_string()));
    let texts = [
        ("stream", &wanted.stream),
        ("route", &wanted.route),
        ("group", &wanted.group),
        ("reason", &wanted.reason),
        ("from", &wanted.from),
    ];
    let texts = texts.map(|(name, text)| (name, text.clone()));
    let mut query = String::new();
    for (name, value) in texts.into_iter().chain(numbers).chain([limit]) {
        let Some(value) = value else { continue };
        let separator = if query.is_empty() { '?' } else { '&' };
        let _ = write!(query, "{separator}{name}=");
        for byte in value.bytes() {
            // A string takes any text.
            let _ = match byte {
                byte if byte.is_ascii_alphanumeric() || b"-_/.".contains(&byte) => {
                    write!(query, "{}", char::from(byte))
                }
                byte => write!(query, "%{byte:02X}"),
            };
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_were_named_go_on_where_the_answer_ended() {
        let named = ["dead/0/10", "dead/0/9", "dead/1/2"].map(str::to_owned);
        let mut selection = LetterSelection { letters: named.into(), filter: None };
        let mut go_on = |next: Option<&str>| {
            let is_more = go_on_with(&mut selection, next.map(str::to_owned), 0);
            (is_more.expect("an address"), selection.letters.clone())
        };
        let left = vec!["dead/0/10".to_owned(), "dead/1/2".to_owned()];
        assert_eq!(go_on(Some("dead/0/10")), (true, left.clone()));
        assert!(!go_on(Some("dead/0/10")).0, "nothing came of it");
        assert_eq!(go_on(None), (false, left));
    }

    #[test]
    fn a_query_has_what_was_said_and_nothing_that_ends_it() {
        let wanted = Wanted {
            route: Some("quakes".to_owned()),
            reason: Some("A B&c".to_owned()),
            from: Some("dead/0/7".to_owned()),
            limit: Some(5),
            ..Wanted::default()
        };
        let expected = "?route=quakes&reason=A%20B%26c&from=dead/0/7&limit=5";
        assert_eq!(query(&wanted), expected);
        assert_eq!(query(&Wanted::default()), "");
    }
}
