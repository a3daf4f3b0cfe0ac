//! What holds for groups.

use std::{collections::BTreeMap, time::Duration};

use waypost_core::{GroupName, GroupPolicy, RetryPolicy};
use waypost_protocol::Topic;

/// What holds for groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Groups at most.
    pub max_groups: usize,
    /// Members of one group at most.
    pub max_members: usize,
    /// How long a group over memory topics is kept without a member.
    pub linger: Duration,
    /// What holds for a group that has no rules of its own.
    pub defaults: GroupRules,
    /// What holds for some groups instead.
    pub groups: BTreeMap<GroupName, GroupRules>,
}

/// What holds for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRules {
    /// How long a member holds a delivery that it does not extend.
    pub lease: Duration,
    /// Messages that a member holds unsettled at most.
    pub max_in_flight: u32,
    /// How often a message is given out, with what waits between.
    pub retry: RetryPolicy,
    /// Where what the group gives up on goes.
    pub dead_letter: Option<Topic>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            max_groups: 10_000,
            max_members: 1000,
            linger: Duration::from_secs(30),
            defaults: GroupRules::default(),
            groups: BTreeMap::new(),
        }
    }
}

impl Default for GroupRules {
    fn default() -> Self {
        let retry = RetryPolicy { parked_messages: 1000, ..RetryPolicy::default() };
        Self { lease: Duration::from_secs(30), max_in_flight: 1000, retry, dead_letter: None }
    }
}

impl GroupSettings {
    /// What holds for a group.
    #[must_use]
    pub fn rules_of(&self, group: &GroupName) -> &GroupRules {
        self.groups.get(group).unwrap_or(&self.defaults)
    }
}

impl GroupRules {
    /// As the ledger wants it.
    pub(super) fn policy(&self) -> GroupPolicy {
        GroupPolicy {
            lease_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            retry: self.retry,
            buries: self.dead_letter.is_some(),
        }
    }
}
