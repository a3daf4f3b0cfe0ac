//! What a lane does with batches from other routes, and until its own are settled there.

use futures_util::future::BoxFuture;
use waypost_core::Traced;

use super::{
    super::{
        chain::{ChainedJob, Step},
        outlet::Job,
    },
    Pipeline,
};

impl Pipeline {
    /// Runs a batch that came out of a route.
    pub(in crate::router) async fn run_chained(&mut self, job: ChainedJob) {
        let ChainedJob { batch, lineage, ticket } = job;
        let Some(batch) = self.living_of(batch, lineage.ingest_ms) else {
            return ticket.settle();
        };
        if self.run(Traced::untraced(batch), lineage).await {
            ticket.settle();
        }
    }

    /// Hands on the dead letters so far, and waits until the routes that take them are done.
    pub(super) async fn hand_letters(&mut self, job: &mut Job) {
        let step = self.outlet.deliver_letters(job).await;
        self.await_step(&step, job).await;
    }

    /// Waits until what a job handed on is settled. Meanwhile it runs batches that went through more routes than
    /// the job: what it waits for may wait for them.
    pub(super) async fn await_step(&mut self, step: &Step, job: &mut Job) {
        if step.is_empty() {
            return;
        }
        let inbox = self.inbox.clone();
        let is_whole = loop {
            let deeper = tokio::select! {
                biased;
                is_whole = step.settled() => break is_whole,
                deeper = inbox.deeper_than(job.lineage.hops) => deeper,
            };
            match deeper {
                Some(deeper) => self.run_nested(deeper).await,
                None => break step.settled().await,
            }
        };
        job.is_lost |= !is_whole;
    }

    /// No deeper than there are hops, as each one within another went through more routes.
    fn run_nested(&mut self, job: ChainedJob) -> BoxFuture<'_, ()> {
        if self.may_look() {
            self.look();
        }
        Box::pin(self.run_chained(job))
    }
}
