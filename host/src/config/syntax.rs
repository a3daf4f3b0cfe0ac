//! The file before anything of it is understood: its bytes, its text, its TOML.

use std::{fs::File, io::Read as _, path::Path};

use toml::de::{DeTable, Error};

use super::problem::{Document, Place, Problem};

/// No configuration is larger; a device that never ends is none.
const MOST_FILE_BYTES: u64 = 1 << 20;

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Document, Problem> {
    let name = path.to_string_lossy().into_owned();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            let place = Place::WholeFile(name.clone());
            Problem::error(place, format!("it cannot be read: {error}"), "name a file that exists")
        })?;
    document(&name, bytes)
}

/// A file's bytes as text.
pub(super) fn document(name: &str, bytes: Vec<u8>) -> Result<Document, Problem> {
    if bytes.len() as u64 > MOST_FILE_BYTES {
        let message = format!("it is larger than {MOST_FILE_BYTES} bytes");
        let place = Place::WholeFile(name.to_owned());
        return Err(Problem::error(place, message, "name a configuration file"));
    }
    String::from_utf8(bytes).map(|text| Document::new(name, text)).map_err(|error| {
        // What comes before the fault is sound, so its place is the same in the repaired text.
        let offset = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let place = Place::File(Document::new(name, text), offset..offset);
        Problem::error(place, "the text is not UTF-8 from here on", "save the file as UTF-8")
    })
}

/// The text as TOML, with everything in it that is none. Gives no table when the text is so broken
/// that whatever else could be said of it would be guessed.
pub(super) fn parse<'d>(
    document: &'d Document,
    problems: &mut Vec<Problem>,
) -> Option<DeTable<'d>> {
    let (table, mut errors) = DeTable::parse_recoverable(document.text());
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let mut last_line = 0;
    let mut is_sound = true;
    for error in errors {
        let span = error.span().unwrap_or_default();
        let (line, _) = document.position(span.start);
        // The parser goes on after a fault, and what follows on its line is seldom another one.
        if line != last_line {
            problems.push(problem(document, &error));
        }
        last_line = line;
        is_sound &= is_duplicate(&error);
        if is_in_brackets(&error) {
            break;
        }
    }
    is_sound.then(|| table.into_inner())
}

fn problem(document: &Document, error: &Error) -> Problem {
    let place = Place::File(document.clone(), error.span().unwrap_or_default());
    if is_duplicate(error) {
        let message = "this key or section stands above already";
        return Problem::error(place, message, "keep one of the two");
    }
    let is_empty = error.span().is_none_or(|span| span.is_empty());
    let message = error.message();
    let (message, hint) = if message.starts_with("string values must be quoted") {
        let message = if is_empty { "a value is missing" } else { message };
        (message, "write text in quotes, numbers, true and false without")
    } else if is_in_brackets(error) {
        (message, "put a comma between two elements, and the closing bracket after the last")
    } else {
        (message, "a line is [section], [[section]], key = value or # comment")
    };
    Problem::error(place, format!("this is not TOML: {message}"), hint)
}

/// An array or inline table that does not end swallows the lines below.
fn is_in_brackets(error: &Error) -> bool {
    error.message().contains("array") || error.message().contains("inline table")
}

fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}
