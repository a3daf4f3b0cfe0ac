//! What arrived at the subscribers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde_json::Value;
use waypost_client::Delivered;

use super::{
    DEAD_LETTERS, SEQUENCE_HEADER,
    input::{Expected, Input},
    number,
    publish::REPLACED,
};

const ALERT: &str = "quakes.alert";
const REGION: &str = "quakes.region.";

/// Counts of what arrived, and what is still to come.
#[derive(Debug)]
pub(super) struct Tally {
    expected: Vec<Expected>,
    seen: Vec<u32>,
    missing: usize,
    pub(super) alerts: usize,
    pub(super) rejected: usize,
    pub(super) duplicated: usize,
    pub(super) misplaced: usize,
    pub(super) out_of_order: usize,
    pub(super) by_region: BTreeMap<String, usize>,
    versions: BTreeSet<[u8; 32]>,
    last_of_key: BTreeMap<(String, Vec<u8>), usize>,
}

impl Tally {
    pub(super) fn new(input: &Input) -> Self {
        let expected: Vec<Expected> =
            input.lines.iter().map(|line| line.expected.clone()).collect();
        let missing = expected.iter().filter(|each| **each != Expected::Filtered).count();
        Self {
            seen: vec![0; expected.len()],
            expected,
            missing,
            alerts: 0,
            rejected: 0,
            duplicated: 0,
            misplaced: 0,
            out_of_order: 0,
            by_region: BTreeMap::new(),
            versions: BTreeSet::new(),
            last_of_key: BTreeMap::new(),
        }
    }

    /// Counts a message. What was still on its way to the route is none of its outcomes.
    pub(super) fn count(&mut self, message: &Delivered) -> anyhow::Result<()> {
        if message.topic() == "quakes.raw" {
            return Ok(());
        }
        let index = number(message.headers().get(SEQUENCE_HEADER))?;
        let seen = self.seen.get_mut(index).context("a message has a number that was not given")?;
        *seen += 1;
        if *seen > 1 {
            self.duplicated += 1;
            return Ok(());
        }
        let arrived = match message.topic() {
            DEAD_LETTERS => Expected::Rejected,
            ALERT => Expected::Alert,
            topic => match topic.strip_prefix(REGION) {
                Some(region) => Expected::Region(region.to_owned()),
                None => bail!("a message arrived on {topic}, where none belongs"),
            },
        };
        match self.expected.get(index) {
            Some(expected) if *expected == arrived => self.missing -= 1,
            _ => self.misplaced += 1,
        }
        if arrived == Expected::Rejected {
            self.rejected += 1;
            return Ok(());
        }
        self.note_order(message, index);
        let run = message.envelope().stages.iter().find(|run| run.plugin == REPLACED);
        self.versions.insert(run.context("an envelope does not name the replaced plugin")?.digest);
        let event: Value = serde_json::from_slice(message.payload())?;
        let is_event = event["version"] == 2
            && event.get("magnitude").is_some()
            && event["severity"].is_string()
            && event.get("mag").is_none();
        if !is_event {
            bail!("a message is no version 2 event: {event}");
        }
        if arrived == Expected::Alert {
            self.alerts += 1;
        }
        let region = event["net"].as_str().context("an event names no network")?;
        *self.by_region.entry(region.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Order holds for each key of a publisher, on each topic.
    fn note_order(&mut self, message: &Delivered, index: usize) {
        let key = (message.topic().to_owned(), message.key().unwrap_or_default().to_vec());
        let last = self.last_of_key.insert(key, index);
        self.out_of_order += usize::from(last.is_some_and(|last| last > index));
    }

    pub(super) fn kept(&self) -> usize {
        self.by_region.values().sum()
    }

    pub(super) fn arrived(&self) -> usize {
        self.kept() + self.rejected
    }

    /// Lines that arrived nowhere and were to arrive nowhere.
    pub(super) fn filtered(&self) -> usize {
        let pairs = self.seen.iter().zip(&self.expected);
        pairs.filter(|(seen, expected)| **seen == 0 && **expected == Expected::Filtered).count()
    }

    /// Lines that arrived nowhere and should have.
    pub(super) fn lost(&self) -> usize {
        let pairs = self.seen.iter().zip(&self.expected);
        pairs.filter(|(seen, expected)| **seen == 0 && **expected != Expected::Filtered).count()
    }

    pub(super) fn versions_seen(&self) -> usize {
        self.versions.len()
    }

    /// Whether everything has arrived that was to.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    pub(super) fn line(&self) -> String {
        format!(
            "{:>5} kept in {:>2} regions, {:>3} alerts, {:>2} dead letters, {} version(s)",
            self.kept(),
            self.by_region.len(),
            self.alerts,
            self.rejected,
            self.versions.len()
        )
    }
}
