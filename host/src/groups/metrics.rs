//! What groups count, and how they stand.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use waypost_core::GroupName;
use waypost_protocol::ErrorCode;

/// What becomes of messages that members hold, as a label says it.
const SETTLED: [&str; 6] = ["acknowledged", "returned", "rejected", "expired", "released", "lost"];
/// Why what members say does not hold.
const REFUSED: [ErrorCode; 3] =
    [ErrorCode::StaleLease, ErrorCode::NeverDelivered, ErrorCode::NoDeadLetters];

/// The series of groups.
#[derive(Debug, Clone)]
pub struct GroupMetrics {
    /// Messages that were given out.
    pub delivered: IntCounterVec,
    /// Of these, messages that were given out before.
    pub redelivered: IntCounterVec,
    /// Messages that became so: done, to be tried again, or given up.
    pub settled: IntCounterVec,
    /// What members said that does not hold, by reason.
    pub refused: IntCounterVec,
    /// Messages that became dead letters.
    pub dead_letters: IntCounterVec,
    /// Messages that were trimmed or damaged before they were done.
    pub lost: IntCounterVec,
    /// Messages before the end that are not done.
    pub lag: IntGaugeVec,
    /// How long ago the oldest of them was taken in, in seconds.
    pub oldest_seconds: IntGaugeVec,
    /// Messages that members hold.
    pub in_flight: IntGaugeVec,
    /// Members.
    pub members: IntGaugeVec,
}

impl GroupMetrics {
    /// Makes the series and registers them.
    ///
    /// # Errors
    ///
    /// A series of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, help, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let gauges = |name, help| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &["group"])?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        Ok(Self {
            delivered: counters(
                "waypost_group_delivered_messages_total",
                "Messages that were given to members of a group",
                &["group"],
            )?,
            redelivered: counters(
                "waypost_group_redelivered_messages_total",
                "Messages that were given to members of a group and had been before",
                &["group"],
            )?,
            settled: counters(
                "waypost_group_settled_messages_total",
                "Messages that members acknowledged, gave back or rejected, or whose lease ended",
                &["group", "how"],
            )?,
            refused: counters(
                "waypost_group_refused_total",
                "Acknowledgements that do not hold, by reason",
                &["group", "code"],
            )?,
            dead_letters: counters(
                "waypost_group_dead_letters_total",
                "Messages that a group gave up on",
                &["group"],
            )?,
            lost: counters(
                "waypost_group_lost_messages_total",
                "Messages that retention took, or that are damaged, before a group was done with them",
                &["group"],
            )?,
            lag: gauges("waypost_group_lag_messages", "Messages that a group is not done with")?,
            oldest_seconds: gauges(
                "waypost_group_oldest_unacknowledged_seconds",
                "How long ago the oldest message was taken in that a group is not done with",
            )?,
            in_flight: gauges(
                "waypost_group_in_flight_messages",
                "Messages that members of a group hold",
            )?,
            members: gauges("waypost_group_members", "Members of a group")?,
        })
    }

    pub(super) fn count(&self, counters: &IntCounterVec, group: &GroupName, messages: u64) {
        counters.with_label_values(&[group.as_str()]).inc_by(messages);
    }

    pub(super) fn settled(&self, group: &GroupName, how: &str, messages: usize) {
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        self.settled.with_label_values(&[group.as_str(), how]).inc_by(messages);
    }

    /// Takes away what was counted of a group that is no more, when there was time to collect it.
    pub(super) fn forget_counts(&self, group: &GroupName) {
        let group = group.as_str();
        for counters in [&self.delivered, &self.redelivered, &self.dead_letters, &self.lost] {
            // One that was never counted has none.
            let _ = counters.remove_label_values(&[group]);
        }
        for how in SETTLED {
            let _ = self.settled.remove_label_values(&[group, how]);
        }
        for code in REFUSED {
            let _ = self.refused.remove_label_values(&[group, code.name()]);
        }
    }

    /// Takes away how a group stands that is no more.
    pub(super) fn forget(&self, group: &GroupName) {
        for gauges in [&self.lag, &self.oldest_seconds, &self.in_flight, &self.members] {
            // One that was never told of has none.
            let _ = gauges.remove_label_values(&[group.as_str()]);
        }
    }
}
