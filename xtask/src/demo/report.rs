//! What the demo says at its end, and whether that is as it must be.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::bail;
use serde::Serialize;

use super::{
    input::{Expected, Input},
    tally::Tally,
};

/// The demo's figures, counted at the subscribers.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    published: usize,
    kept: usize,
    filtered: usize,
    rejected: usize,
    alerts: usize,
    by_region: BTreeMap<String, usize>,
    lost: usize,
    duplicated: usize,
    misplaced: usize,
    out_of_order: usize,
    reloads: usize,
    versions_seen: usize,
}

impl Report {
    pub(super) fn new(published: usize, reloads: usize, tally: &Tally) -> Self {
        Self {
            published,
            kept: tally.kept(),
            filtered: tally.filtered(),
            rejected: tally.rejected,
            alerts: tally.alerts,
            by_region: tally.by_region.clone(),
            lost: tally.lost(),
            duplicated: tally.duplicated,
            misplaced: tally.misplaced,
            out_of_order: tally.out_of_order,
            reloads,
            versions_seen: tally.versions_seen(),
        }
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.figures() {
            // A string takes any text.
            let _ = writeln!(text, "{name:<14} {value:>6}");
        }
        let _ = writeln!(text, "\nby region");
        for (region, count) in &self.by_region {
            let _ = writeln!(text, "  {region:<12} {count:>6}");
        }
        text
    }

    fn figures(&self) -> [(&'static str, usize); 11] {
        [
            ("published", self.published),
            ("kept", self.kept),
            ("filtered", self.filtered),
            ("rejected", self.rejected),
            ("alerts", self.alerts),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("misplaced", self.misplaced),
            ("out of order", self.out_of_order),
            ("reloads", self.reloads),
            ("versions seen", self.versions_seen),
        ]
    }

    /// Fails when a figure is not what the input demands; for the bundled week the figures are known.
    pub(super) fn check(&self, input: &Input, is_bundled: bool) -> anyhow::Result<()> {
        let kept = |each: &Expected| matches!(each, Expected::Alert | Expected::Region(_));
        let mut demanded = vec![
            ("published", input.lines.len()),
            ("kept", input.count(kept)),
            ("filtered", input.count(|each| *each == Expected::Filtered)),
            ("rejected", input.count(|each| *each == Expected::Rejected)),
            ("alerts", input.count(|each| *each == Expected::Alert)),
            ("lost", 0),
            ("duplicated", 0),
            ("misplaced", 0),
            ("out of order", 0),
            ("reloads", 1),
            ("versions seen", 2),
        ];
        if is_bundled {
            demanded.extend([
                ("published", 1710),
                ("kept", 1679),
                ("filtered", 28),
                ("rejected", 3),
                ("alerts", 85),
            ]);
        }
        let figures = BTreeMap::from(self.figures());
        let wrong: Vec<String> = demanded
            .into_iter()
            .filter_map(|(name, wanted)| {
                let found = figures.get(name).copied().unwrap_or_default();
                (found != wanted).then(|| format!("{name} is {found} and must be {wanted}"))
            })
            .collect();
        if !wrong.is_empty() {
            bail!("{}", wrong.join("; "));
        }
        Ok(())
    }
}
