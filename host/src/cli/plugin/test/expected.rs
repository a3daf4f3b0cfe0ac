//! What should have come out, compared with what did.

use std::{collections::VecDeque, fs, path::Path};

use anyhow::Context as _;

/// Differences that are told; the rest is counted.
const MAX_TOLD: usize = 5;
/// What the last line of saved JSON begins with; it holds times and is not compared.
const SUMMARY: &str = "{\"summary\":";

/// The lines of a file, and how those that were printed differ.
#[derive(Debug)]
pub(super) struct Expected {
    lines: VecDeque<String>,
    number: usize,
    told: String,
    differences: usize,
}

impl Expected {
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| {
            format!("{}; make it from what a run without --expect prints", file.display())
        })?;
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with(SUMMARY));
        let lines = lines.map(str::to_owned).collect();
        Self { lines, number: 0, told: String::new(), differences: 0 }
    }

    /// Compares printed lines with the next ones.
    pub(super) fn compare(&mut self, printed: &str) {
        for printed in printed.lines() {
            let expected = self.lines.pop_front();
            self.number += 1;
            if expected.as_deref() != Some(printed) {
                self.differ(expected.as_deref(), Some(printed));
            }
        }
    }

    /// How they differ, if they do.
    pub(super) fn finish(mut self) -> Option<String> {
        while let Some(expected) = self.lines.pop_front() {
            self.number += 1;
            self.differ(Some(&expected), None);
        }
        if self.differences > MAX_TOLD {
            let more = self.differences - MAX_TOLD;
            self.told.push_str(&format!("and {more} more differences\n"));
        }
        (self.differences > 0).then_some(self.told)
    }

    fn differ(&mut self, expected: Option<&str>, printed: Option<&str>) {
        self.differences += 1;
        if self.differences > MAX_TOLD {
            return;
        }
        self.told.push_str(&format!("@@ {} @@\n", self.number));
        for (sign, line) in [('-', expected), ('+', printed)] {
            if let Some(line) = line {
                self.told.push_str(&format!("{sign}{line}\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &str, printed: &[&str], differences: Option<&str>) {
        let mut compared = Expected::of(expected);
        printed.iter().for_each(|lines| compared.compare(lines));
        assert_eq!(compared.finish().as_deref(), differences);
    }

    #[test]
    fn the_same_lines_do_not_differ_and_a_summary_does_not_count() {
        check("a\nb\n", &["a\n", "b\n"], None);
        check("a\n{\"summary\":{\"messages\":1}}\n", &["a\n"], None);
        check("", &[], None);
    }

    #[test]
    fn differences_are_told_with_their_line() {
        check("a\nb\nc\n", &["a\nx\n", "c\n"], Some("@@ 2 @@\n-b\n+x\n"));
        check("a\nb\n", &["a\n"], Some("@@ 2 @@\n-b\n"));
        check("a\n", &["a\n", "b\n"], Some("@@ 2 @@\n+b\n"));
    }

    #[test]
    fn only_the_first_differences_are_told() {
        let printed = ["x\n"; 8];
        let mut compared = Expected::of("");
        printed.iter().for_each(|lines| compared.compare(lines));
        let told = compared.finish().expect("they differ");
        assert!(told.ends_with("and 3 more differences\n"), "{told}");
        assert_eq!(told.matches("@@ ").count(), 5);
    }
}
