//! What comes of memory topics: into streams, and to whoever is there now.

use waypost_core::{Output, SettledOutputs, Traced, keep_outputs};

use super::{
    super::{
        chain::Step,
        fanout::{Delivered, Onward},
        stage::Stage,
    },
    Job, Label, Letters, Outlet,
};
use crate::router::durable::store;

impl Outlet {
    pub(super) async fn hand_on(
        &self,
        batch: Traced,
        label: &Label,
        stages: &[Stage],
        job: &mut Job,
    ) -> Step {
        let step = Step::default();
        if let Some(batch) = self.store(batch, label, job).await {
            let delivered = self.deliver(&batch, label, &step).await;
            self.bury_at_limit(job, &batch, stages, &delivered.barred);
        }
        step
    }

    pub(super) async fn hand_on_letters(&self, letters: Vec<Letters>, job: &mut Job) -> Step {
        let step = Step::default();
        for Output { messages, label } in letters.into_iter().flat_map(Letters::finish) {
            let Some(rest) = self.store(messages, &label, job).await else {
                continue;
            };
            let delivered = self.deliver(&rest, &label, &step).await;
            let unseen = &self.fanout.metrics.dead_letters_unseen;
            let unseen = unseen.with_label_values(&[self.route.as_str()]);
            unseen.inc_by(delivered.unseen as u64);
        }
        step
    }

    /// Hands messages of memory topics to who takes them.
    async fn deliver(&self, batch: &Traced, label: &Label, step: &Step) -> Delivered {
        let onward = Onward { lineage: label.onward, lane: self.lane, step };
        self.fanout.deliver(batch.batch(), &label.envelope, onward).await
    }

    /// Puts what streams keep into them, however long that takes. Gives what none keeps.
    async fn store(&self, messages: Traced, label: &Label, job: &mut Job) -> Option<Traced> {
        let streams = self.fanout.streams.table();
        if streams.is_empty() {
            return Some(messages);
        }
        let output = Output { messages, label: label.clone() };
        let SettledOutputs { kept, rest } =
            keep_outputs(vec![output], streams, u32::from(self.lane));
        if !kept.is_empty() {
            job.is_lost |= !store::append(&self.route, &self.fanout.streams, kept).await;
        }
        // What came together from one topic or several is one batch again.
        rest.into_iter().next().map(|output| output.messages)
    }
}
