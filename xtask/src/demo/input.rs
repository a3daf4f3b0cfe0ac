//! The input, and what must become of each of its lines.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::Value;

/// Lines that are no JSON, to be found among the dead letters.
const MALFORMED: [&str; 3] = ["{\"type\":\"Feature\",\"properties\":", "not JSON at all", "{]}"];

/// Where a line must arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// On the topic of strong earthquakes.
    Alert,
    /// On the topic of its region.
    Region(String),
    /// Nowhere.
    Filtered,
    /// Among the dead letters.
    Rejected,
}

/// One message to publish.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) key: Option<String>,
    pub(super) expected: Expected,
}

/// All messages, in the order of publishing.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) lines: Vec<Line>,
}

impl Input {
    /// Reads a file of features, and puts the malformed lines among them.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut lines: Vec<Line> =
            text.lines().filter(|line| !line.trim().is_empty()).map(Line::of).collect();
        if lines.is_empty() {
            anyhow::bail!("{} holds no line", path.display());
        }
        let apart = lines.len() / (MALFORMED.len() + 1);
        for (index, text) in (1..).zip(MALFORMED) {
            lines.insert(index * apart, Line::of(text));
        }
        Ok(Self { lines })
    }

    /// How many lines must meet this fate.
    pub(super) fn count(&self, is_meant: impl Fn(&Expected) -> bool) -> usize {
        self.lines.iter().filter(|line| is_meant(&line.expected)).count()
    }
}

impl Line {
    fn of(text: &str) -> Self {
        let feature: Option<Value> = serde_json::from_str(text).ok();
        let region = feature.as_ref().and_then(|feature| feature.pointer("/properties/net"));
        let region = region.and_then(Value::as_str).map(str::to_owned);
        let expected = match &feature {
            None => Expected::Rejected,
            Some(feature) => expected(feature, region.as_deref()),
        };
        Self { text: text.to_owned(), key: region, expected }
    }
}

fn expected(feature: &Value, region: Option<&str>) -> Expected {
    if feature.pointer("/properties/type").and_then(Value::as_str) != Some("earthquake") {
        return Expected::Filtered;
    }
    match (feature.pointer("/properties/mag").and_then(Value::as_f64), region) {
        (Some(magnitude), _) if magnitude >= 4.5 => Expected::Alert,
        (_, Some(region)) => Expected::Region(region.to_owned()),
        // Without a region there is no topic for it.
        (_, None) => Expected::Rejected,
    }
}
