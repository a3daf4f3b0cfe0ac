//! Tells how the group stands: to operators, and as metrics.

use super::{Source, Task};
use crate::groups::{Stood, status::MemberStatus};

impl Task {
    /// Looks whether retention overtook the group, and tells how it stands.
    pub(super) fn tick(&mut self) {
        for partition in 0..self.parts.len() {
            self.follow_retention(partition);
        }
        self.tell();
    }

    pub(super) fn tell(&mut self) {
        let metrics = &self.groups.0.metrics;
        let labels = [self.name.as_str()];
        let members = i64::try_from(self.seats.len()).unwrap_or(i64::MAX);
        metrics.members.with_label_values(&labels).set(members);
        let stands = self.crew.members();
        let named = stands.map(|stand| {
            let name = self.seats.get(&stand.member).map_or("", |seat| &seat.name);
            MemberStatus::of(stand, name)
        });
        let mut stood = Stood { members: named.collect(), ..Stood::default() };
        let held: usize = stood.members.iter().map(|member| member.in_flight).sum();
        metrics.in_flight.with_label_values(&labels).set(i64::try_from(held).unwrap_or(i64::MAX));
        let mut kept = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let Some(ledger) = self.crew.ledger(index) else { continue };
            match &part.source {
                Source::Stream { partition, .. } => {
                    kept.push((partition.clone(), ledger.position(&[])));
                    if part.is_behind {
                        stood.behind.push(partition.clone());
                    }
                }
                Source::Memory(_) => {
                    stood.lag = ledger.lag(part.next);
                    let lag = i64::try_from(stood.lag).unwrap_or(i64::MAX);
                    metrics.lag.with_label_values(&labels).set(lag);
                    let oldest_ms = ledger.oldest_ms();
                    stood.oldest_ms = oldest_ms.map(|ms| self.clock.now_ms().saturating_sub(ms));
                    let age =
                        i64::try_from(stood.oldest_ms.unwrap_or(0) / 1000).unwrap_or(i64::MAX);
                    metrics.oldest_seconds.with_label_values(&labels).set(age);
                }
            }
        }
        self.groups.note(&self.name, kept, stood);
    }
}
