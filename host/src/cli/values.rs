//! Values that several commands take: headers, times, and where bytes come from.

use std::{io, path::Path, time::Duration};

use anyhow::Context as _;
use tokio::io::{AsyncBufRead, BufReader};
use waypost_client::{From, GroupStart};
use waypost_protocol::{HeaderError, HeadersBuilder, Offset, TimeToLive, Topic};

use crate::time::now_ms;

/// NAME=VALUE.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let header = HeadersBuilder::new().push(name, value.as_bytes()).map(|_| ());
    match header {
        Ok(()) => Ok((name.to_owned(), value.to_owned())),
        Err(HeaderError::BadName(_)) => {
            Err("a header's name is made of visible ASCII characters".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A topic that may be published to: of those that belong to the router an inbox alone.
pub(super) fn destination(text: &str) -> Result<Topic, String> {
    match Topic::parse(text).map_err(|error| error.to_string())? {
        topic if topic.is_system() && !text.starts_with("$inbox.") => {
            Err("it belongs to the router; choose a topic that does not begin with $".to_owned())
        }
        topic => Ok(topic),
    }
}

/// A JSON pointer (RFC 6901).
pub(super) fn pointer(text: &str) -> Result<String, String> {
    if !text.is_empty() && !text.starts_with('/') {
        return Err(format!("it does not begin with a slash; write /{text}"));
    }
    let mut escapes = text.split('~').skip(1);
    match escapes.find(|escape| !escape.starts_with(['0', '1'])) {
        Some(_) => Err("a tilde is written ~0, and a slash within a name ~1".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// HOST:PORT.
pub(super) fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("write a name or an IP address and a port, as in 127.0.0.1:4433".to_owned()),
    }
}

/// Where to begin in streams. A number alone is an offset.
pub(super) fn place(text: &str) -> Result<GroupStart, String> {
    match text {
        "beginning" => return Ok(GroupStart::From(From::Beginning)),
        "end" => return Ok(GroupStart::End),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(GroupStart::From(From::Offset(Offset(offset))));
    }
    let time = |ms| GroupStart::From(From::Time(ms));
    let hint = |hint| format!("write beginning, end, an offset, or {hint}");
    since(text).map(time).map_err(|_| hint(MOMENT))
}

/// How a time is written.
const MOMENT: &str = "how long ago as in 10m, or @ and milliseconds since the Unix epoch";

/// A time, in milliseconds since the Unix epoch.
pub(super) fn moment(text: &str) -> Result<u64, String> {
    since(text).map_err(|_| format!("write {MOMENT}"))
}

fn since(text: &str) -> Result<u64, String> {
    if let Some(ms) = text.strip_prefix('@') {
        return ms.parse().map_err(|_| format!("{ms:?} is no number"));
    }
    let ago = u64::try_from(duration(text)?.as_millis()).unwrap_or(u64::MAX);
    Ok(now_ms().saturating_sub(ago))
}

/// A number and a unit; seconds without one.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().map_err(|_| "write a number and ms, s, m or h".to_owned())?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is no unit; write ms, s, m or h")),
    };
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

/// How long to wait: as [`duration`], and not for no time at all.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing comes in no time; write at least 1ms".to_owned()),
        duration => Ok(duration),
    }
}

/// As [`duration`], within what a message may live.
pub(super) fn time_to_live(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    TimeToLive::from_duration(duration).map(|_| duration).map_err(|error| error.to_string())
}

/// Opens a file, or standard input for `-`.
pub(super) async fn open(path: &Path) -> anyhow::Result<Box<dyn AsyncBufRead + Unpin>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(tokio::io::stdin())));
    }
    let opened = async {
        let file = tokio::fs::File::open(path).await?;
        // A folder can be opened, and fails without its name when it is read.
        match file.metadata().await?.is_dir() {
            true => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            false => Ok(file),
        }
    };
    let file = opened.await.with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, expected) in
            [("500ms", 500), ("10", 10_000), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        for text in ["", "s", "-1s", "1d", "1.5s"] {
            duration(text).expect_err(text);
        }
    }

    #[test]
    fn nobody_waits_for_no_time() {
        assert_eq!(patience("1ms"), Ok(Duration::from_millis(1)));
        for text in ["0", "0ms", "0h", "soon"] {
            patience(text).expect_err(text);
        }
    }

    #[tokio::test]
    async fn a_folder_is_no_file_and_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = open(folder.path()).await.map(drop).expect_err("it is a folder");
        let told = format!("{refused:#}");
        assert!(told.contains(&*folder.path().to_string_lossy()), "{told}");
        assert!(told.contains("directory"), "{told}");
    }

    #[test]
    fn a_place_in_a_stream_is_written_in_one_of_five_ways() {
        let from = |from| Ok(GroupStart::From(from));
        assert_eq!(place("beginning"), from(From::Beginning));
        assert_eq!(place("end"), Ok(GroupStart::End));
        assert_eq!(place("70"), from(From::Offset(Offset(70))));
        assert_eq!(place("@1764000000000"), from(From::Time(1_764_000_000_000)));
        assert!(matches!(place("10m"), Ok(GroupStart::From(From::Time(_)))));
        for text in ["", "start", "@", "-1", "10d"] {
            place(text).expect_err(text);
        }
    }

    #[test]
    fn a_header_has_a_name() {
        assert_eq!(header("a=b=c"), Ok(("a".into(), "b=c".into())));
        for text in ["", "a", "=b", "a b=v", "\u{e9}=v", &format!("a={}", "x".repeat(70_000))] {
            header(text).expect_err(text);
        }
    }

    #[test]
    fn a_destination_is_a_topic_that_is_not_the_routers() {
        for text in ["a.b", "$inbox.1-0"] {
            assert!(destination(text).is_ok(), "{text}");
        }
        for text in ["", "a.*", "$x", "$dead.r", "$sys.a"] {
            destination(text).expect_err(text);
        }
    }

    #[test]
    fn a_pointer_begins_with_a_slash_and_escapes_its_tildes() {
        for text in ["", "/", "/a/0", "/a~0b~1c"] {
            assert!(pointer(text).is_ok(), "{text}");
        }
        for text in ["a", "/a~2", "/a~"] {
            pointer(text).expect_err(text);
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for text in ["127.0.0.1:4433", "[::1]:1", "router.local:65535"] {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in ["", "nope", ":1", "127.0.0.1:99999", "a:"] {
            address(text).expect_err(text);
        }
    }
}
