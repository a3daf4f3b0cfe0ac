//! Just enough of Rust's grammar to know code from comments, and which paths it names.

/// The source with comments, strings and characters blanked; line breaks stay.
pub(crate) fn without_text(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = text_end(bytes, at);
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins here ends; here, when none begins.
fn text_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let within_word = at > 0 && is_word(bytes[at - 1]);
    let find = |needle: &[u8], from: usize| {
        let found = rest[from..].windows(needle.len()).position(|window| window == needle);
        found.map_or(bytes.len(), |found| at + from + found + needle.len())
    };
    match rest {
        [b'/', b'/', ..] => find(b"\n", 2),
        [b'/', b'*', ..] => comment_end(bytes, at),
        [b'"', ..] => string_end(bytes, at, b'"'),
        [b'r', b'"' | b'#', ..] | [b'b', b'r', b'"' | b'#', ..] if !within_word => {
            let start = rest.iter().position(|byte| *byte != b'r' && *byte != b'b').unwrap_or(0);
            let hashes = rest[start..].iter().take_while(|byte| **byte == b'#').count();
            // `r#name` is an identifier.
            if rest.get(start + hashes) != Some(&b'"') {
                return at;
            }
            let closing = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            find(&closing, start + hashes + 1)
        }
        // A lifetime has no closing quote behind its one character.
        [b'\'', b'\\', ..] => string_end(bytes, at, b'\''),
        [b'\'', first, ..] if !within_word => {
            let width = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            if rest.get(width + 1) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

fn comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at.min(bytes.len())
}

fn string_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The code, as [`without_text`] gives it, without modules and items under `#[cfg(test)]`.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let item = &rest[start + MARK.len()..];
        rest = &item[item_end(item)..];
    }
    kept + rest
}

/// The end of the item that begins here: its semicolon, or its closing brace.
fn item_end(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in item.bytes().enumerate() {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    item.len()
}

/// Every path that the code names, with groups of `use` written out.
pub(crate) fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_name(tokens[at]) {
            at = path(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads a path that begins at a name; gives the place behind it.
fn path(tokens: &[&str], at: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut segments = before.to_vec();
    segments.push(tokens[at].to_owned());
    let mut at = at + 1;
    while tokens.get(at) == Some(&"::") {
        match tokens.get(at + 1) {
            Some(&"{") => {
                at += 2;
                while at < tokens.len() && tokens[at] != "}" {
                    at = if is_name(tokens[at]) {
                        path(tokens, at, &segments, found)
                    } else {
                        at + 1
                    };
                }
                return at + 1;
            }
            Some(name) if is_name(name) => {
                segments.push((*name).to_owned());
                at += 2;
            }
            _ => break,
        }
    }
    found.push(segments);
    at
}

fn is_name(token: &str) -> bool {
    token.bytes().next().is_some_and(is_word)
}

fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.bytes().next() {
        let length = if is_word(first) {
            rest.bytes().take_while(|byte| is_word(*byte)).count()
        } else if rest.starts_with("::") {
            2
        } else {
            1
        };
        let (token, behind) = rest.split_at(length);
        found.push(token);
        rest = behind.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        for text in [
            "// std::fs",
            "/* std::fs /* nested */ std::fs */",
            r#""std::fs""#,
            r##"r#"std::fs " std::fs"#"##,
            r#""a \" std::fs""#,
        ] {
            let code = without_text(&format!("before {text}\n after"));
            assert!(!code.contains("std"), "{text} left {code}");
            assert!(code.contains("before") && code.contains("after"), "{text} left {code}");
        }
        let code = without_text(r"fn a<'a>(b: &'a str, c: char) { c == '\'' || c == '{' } std::fs");
        assert!(code.contains("&'a str") && code.contains("std::fs") && !code.contains("'{'"));
    }

    #[test]
    fn groups_of_use_are_written_out() {
        let code = "use std::{fs, time::{Duration, Instant as Now}}; let x = a::b::<u8>::c();";
        let found: Vec<String> = paths(code).iter().map(|path| path.join("::")).collect();
        for expected in ["std::fs", "std::time::Duration", "std::time::Instant", "a::b"] {
            assert!(found.contains(&expected.to_owned()), "{expected} is not in {found:?}");
        }
    }

    #[test]
    fn tests_are_left_out() {
        let code = "a #[cfg(test)] mod tests { fn x() { b } } c #[cfg(test)] mod tests; d";
        let kept = without_tests(code);
        assert_eq!(kept.split_whitespace().collect::<Vec<_>>(), ["a", "c", "d"]);
    }
}
