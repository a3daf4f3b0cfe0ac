//! What should have come out, compared with what did.

use std::{collections::VecDeque, fs, path::Path};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Differences that are told; the rest is counted.
const MAX_TOLD: usize = 5;
/// How such a file is had.
const MADE_FROM: &str = "make it from what a run with --output json prints";
/// What the last line of saved JSON begins with; it holds times and is not compared.
const SUMMARY: &str = "{\"summary\":";

/// The lines of a file, and how what came out differs from them.
#[derive(Debug)]
pub(super) struct Expected {
    lines: VecDeque<Line>,
    number: usize,
    told: String,
    differences: usize,
}

/// A verdict that should come out.
#[derive(Debug)]
struct Line {
    /// In the file, counted from one.
    number: usize,
    text: String,
    value: Value,
}

impl Expected {
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read; {MADE_FROM}", file.display()))?;
        Self::of(&text).with_context(|| file.display().to_string())
    }

    fn of(text: &str) -> anyhow::Result<Self> {
        let mut lines = VecDeque::new();
        for (number, text) in (1..).zip(text.lines()) {
            if text.is_empty() || text.starts_with(SUMMARY) {
                continue;
            }
            match serde_json::from_str(text) {
                Ok(value) => lines.push_back(Line { number, text: text.to_owned(), value }),
                Err(error) => bail!("line {number} is not JSON: {error}; {MADE_FROM}"),
            }
        }
        Ok(Self { lines, number: 0, told: String::new(), differences: 0 })
    }

    /// Compares what came out with the next line.
    pub(super) fn compare(&mut self, verdict: &Value) {
        let expected = self.lines.pop_front();
        self.number = expected.as_ref().map_or(self.number + 1, |expected| expected.number);
        if expected.as_ref().is_none_or(|expected| expected.value != *verdict) {
            self.differ(expected.as_ref(), Some(verdict));
        }
    }

    /// How they differ, if they do.
    pub(super) fn finish(mut self) -> Option<String> {
        while let Some(expected) = self.lines.pop_front() {
            self.number = expected.number;
            self.differ(Some(&expected), None);
        }
        if self.differences > MAX_TOLD {
            let more = self.differences - MAX_TOLD;
            self.told.push_str(&format!("and {more} more differences\n"));
        }
        (self.differences > 0).then_some(self.told)
    }

    fn differ(&mut self, expected: Option<&Line>, verdict: Option<&Value>) {
        self.differences += 1;
        if self.differences > MAX_TOLD {
            return;
        }
        self.told.push_str(&format!("@@ {} @@\n", self.number));
        if let Some(Line { text, .. }) = expected {
            self.told.push_str(&format!("-{text}\n"));
        }
        if let Some(verdict) = verdict {
            self.told.push_str(&format!("+{verdict}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(line: u64, verdict: &str) -> Value {
        json!({ "line": line, "verdict": verdict })
    }

    fn check(expected: &str, verdicts: &[Value], differences: Option<&str>) {
        let mut compared = Expected::of(expected).expect("JSON");
        verdicts.iter().for_each(|verdict| compared.compare(verdict));
        assert_eq!(compared.finish().as_deref(), differences);
    }

    #[test]
    fn the_same_verdicts_do_not_differ_however_their_lines_are_spaced() {
        let verdicts = [verdict(1, "drop"), verdict(2, "forward")];
        let lines =
            "{\"line\":1,\"verdict\":\"drop\"}\n\n{ \"verdict\": \"forward\", \"line\": 2 }\r\n";
        check(lines, &verdicts, None);
        check(&format!("{lines}{{\"summary\":{{\"messages\":2}}}}\n"), &verdicts, None);
        check("", &[], None);
    }

    #[test]
    fn differences_are_told_with_their_line() {
        let [drop, forward] = [1, 2].map(|line| verdict(line, "drop").to_string());
        let lines = format!("{drop}\n\n{forward}\n");
        let told = format!("@@ 3 @@\n-{forward}\n+{{\"line\":2,\"verdict\":\"forward\"}}\n");
        check(&lines, &[verdict(1, "drop"), verdict(2, "forward")], Some(&told));
        check(&lines, &[verdict(1, "drop")], Some(&format!("@@ 3 @@\n-{forward}\n")));
        let told = format!("@@ 2 @@\n+{forward}\n");
        check(&drop, &[verdict(1, "drop"), verdict(2, "drop")], Some(&told));
    }

    #[test]
    fn only_the_first_differences_are_told() {
        let mut compared = Expected::of("").expect("JSON");
        (1..=8).for_each(|line| compared.compare(&verdict(line, "drop")));
        let told = compared.finish().expect("they differ");
        assert!(told.ends_with("and 3 more differences\n"), "{told}");
        assert_eq!(told.matches("@@ ").count(), 5);
    }

    #[test]
    fn lines_that_are_no_json_say_where_they_should_come_from() {
        let refused = Expected::of("{}\nline 2: drop\n").expect_err("it is not JSON").to_string();
        assert!(refused.starts_with("line 2 is not JSON") && refused.contains("--output json"));
    }
}
