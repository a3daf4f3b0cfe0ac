//! The groups of a configuration: what holds for all, and for single ones instead.

use std::time::Duration;

use waypost_core::{GroupName, RetryPolicy};
use waypost_protocol::Topic;

use super::{key::Kind, reader::Reader, scalar::Complaint, section::Section, sections::LONGEST_MS};
use crate::groups::{GroupRules, GroupSettings};

/// A day at most, as what members ask for.
const LONGEST_WAIT_MS: u32 = 86_400_000;

/// A group as far as its keys, one by one, are right.
#[derive(Debug)]
pub(super) struct DraftGroup {
    /// `group[0]`.
    path: String,
    rules: Option<(GroupName, GroupRules)>,
}

/// Reads what holds for all groups.
pub(super) fn groups(section: &mut Section<'_, '_>) -> GroupSettings {
    let settings = GroupSettings::default();
    GroupSettings {
        max_groups: section.integer("max_groups", settings.max_groups, 1..=1_000_000),
        max_members: section.integer("max_members", settings.max_members, 1..=100_000),
        linger: section.milliseconds("linger_ms", 30_000, 1..=LONGEST_MS),
        defaults: rules(section, &settings.defaults),
        groups: settings.groups,
    }
}

/// Reads one group, for which the others' rules hold where it says nothing.
pub(super) fn read_group(section: &mut Section<'_, '_>, defaults: &GroupRules) -> DraftGroup {
    let name = section.required("name", Kind::Name, |text| {
        GroupName::parse(text).map_err(|_| Complaint::new("which is no name"))
    });
    let rules = rules(section, defaults);
    DraftGroup { path: section.path.clone(), rules: name.map(|name| (name, rules)) }
}

fn rules(section: &mut Section<'_, '_>, defaults: &GroupRules) -> GroupRules {
    let GroupRules { lease, max_in_flight, retry, dead_letter } = defaults;
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(LONGEST_MS);
    let lease_ms = section.integer("lease_ms", lease_ms, 10..=LONGEST_MS);
    let max_in_flight = section.integer("max_in_flight", *max_in_flight, 1..=65_536);
    let retry = RetryPolicy {
        attempts: section.integer("attempts", retry.attempts, 1..=1_000_000),
        first_ms: section.integer("first_ms", retry.first_ms, 0..=LONGEST_WAIT_MS),
        max_ms: section.integer("max_ms", retry.max_ms, 0..=LONGEST_WAIT_MS),
        parked_messages: section.integer("max_waiting", retry.parked_messages, 1..=10_000),
        parked_bytes: retry.parked_bytes,
    };
    let own = section.optional("dead_letter", Kind::Topic, "none", |text| {
        let topic = Topic::parse(text);
        match topic.map_err(|error| Complaint::from_error("not a topic", &error))? {
            topic if topic.is_system() && !text.starts_with("$dead.") => {
                Err(Complaint::new("which belongs to the router")
                    .with_hint("write $dead.<group>, or a topic that does not begin with $"))
            }
            topic => Ok(topic),
        }
    });
    let dead_letter = own.or_else(|| dead_letter.clone());
    GroupRules { lease: Duration::from_millis(lease_ms), max_in_flight, retry, dead_letter }
}

/// Refuses two tables for one group.
pub(super) fn check_groups(drafts: &[DraftGroup], reader: &mut Reader<'_>) {
    let whole = drafts.iter().filter_map(|draft| Some((&*draft.path, &draft.rules.as_ref()?.0)));
    let names: Vec<(&str, &GroupName)> = whole.collect();
    for (index, (path, name)) in names.iter().enumerate() {
        if names.iter().take(index).any(|(_, other)| other == name) {
            let place = reader.place(&format!("{path}.name"));
            let message = format!("two [[group]] tables are for {name}");
            reader.error(place, message, "put the keys of both into one");
        }
    }
}

/// What holds for each group.
pub(super) fn settings(groups: GroupSettings, drafts: Vec<DraftGroup>) -> GroupSettings {
    let own = drafts.into_iter().filter_map(|draft| draft.rules);
    GroupSettings { groups: own.collect(), ..groups }
}
