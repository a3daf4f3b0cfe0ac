//! Commits the units of a lane in order, several at once, and hands on what no stream keeps.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::Instant};
use waypost_core::{Flight, FlightAnswer, Output, RouteName};
use waypost_storage::{CommitError, Committed, Storage};

use super::{
    draft::{Composed, DraftReceiver},
    lanes::Stop,
    state::LaneState,
    store::{Pauses, Refusal},
};
use crate::{
    router::{
        chain::Step,
        fanout::{Fanout, Onward},
        outlet::Label,
    },
    time::now_ms,
};

/// Units of a lane that wait for storage at once.
const UNITS: usize = 16;

type Answering = BoxFuture<'static, Result<Committed, CommitError>>;

/// The committing side of a lane.
pub(super) struct Commits {
    pub(super) route: RouteName,
    pub(super) fanout: Arc<Fanout>,
    pub(super) state: Arc<LaneState>,
    pub(super) stop: watch::Receiver<Stop>,
}

/// What storage is asked, in the order in which it answers.
#[derive(Default)]
struct Asked(VecDeque<Asking>);

enum Asking {
    Awaited(Answering),
    Answered(Result<Committed, CommitError>),
}

impl Commits {
    /// Works until no draft comes any more and all are committed, or the lane is stopped while nothing can be.
    pub(super) async fn run(mut self, mut drafts: DraftReceiver) {
        let mut flight = Flight::new(UNITS);
        let (mut asked, mut pauses) = (Asked::default(), Pauses::default());
        let (mut again_at, mut is_open) = (None, true);
        let mut stop = self.stop.clone();
        loop {
            while let Some(next) = flight.poll_submit() {
                asked.ask(self.fanout.streams.storage().clone(), next).await;
            }
            if !is_open && flight.is_empty() {
                return;
            }
            if flight.is_paused() {
                let at = *again_at.get_or_insert_with(|| Instant::now() + pauses.next());
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    // What is not committed is read again by whoever follows.
                    _ = stop.wait_for(|stop| *stop != Stop::No) => return,
                }
                again_at = None;
                flight.resume();
                continue;
            }
            let answer = tokio::select! {
                biased;
                answer = asked.next(), if !asked.0.is_empty() => answer,
                draft = drafts.recv(), if is_open && flight.len() < 2 * UNITS => {
                    match draft {
                        Some((draft, room)) => {
                            let (route, source) = (&self.route, &self.state.partition);
                            let streams = self.fanout.streams.table();
                            let composed = draft.compose(route, source, streams, now_ms(), room);
                            let moves = composed.advance.from != composed.advance.to;
                            flight.push(composed, moves);
                        }
                        None => is_open = false,
                    }
                    continue;
                }
            };
            match answer {
                Ok(_) => {
                    pauses = Pauses::default();
                    if let Some(done) = flight.handle_answer(FlightAnswer::Committed) {
                        self.finish(done).await;
                    }
                }
                Err(error) => {
                    // Those behind one that was refused find the progress elsewhere.
                    let is_first = !flight.is_refused();
                    match Refusal::of(&error) {
                        Refusal::Closed => return,
                        Refusal::Moved if !is_first => {}
                        Refusal::Again => self.stall(&error),
                        Refusal::Fenced | Refusal::Moved => return self.give_up(&error).await,
                    }
                    flight.handle_answer(FlightAnswer::Refused);
                }
            }
        }
    }

    /// A unit is committed: what streams do not keep of it is handed on.
    async fn finish(&mut self, done: Composed) {
        let Composed { unit, advance, rest, committed, .. } = done;
        self.state.committed(advance.to);
        if let Some(committed) = committed {
            // Whoever waited may have gone.
            let _ = committed.send(());
        }
        if self.state.go_on() {
            tracing::info!(route = %self.route, partition = %self.state.partition, "the route goes on");
        }
        self.fanout.streams.count_outputs(&unit.appends);
        for Output { messages, label: Label { envelope, onward } } in rest {
            let step = Step::default();
            // What stands for the number of a lane where there are partitions.
            let lane = u16::try_from(self.state.partition.index.0).unwrap_or(u16::MAX);
            let onward = Onward { lineage: onward, lane, step: &step };
            self.fanout.deliver(messages.batch(), &envelope, onward).await;
            step.settled().await;
        }
    }

    fn stall(&self, error: &CommitError) {
        if self.state.stalled().is_none() {
            let (route, partition) = (&self.route, &self.state.partition);
            tracing::error!(%route, %partition, %error, "the route stalls: its work is not stored; trying again");
        }
        self.state.stall(error.to_string());
    }

    /// Nothing more is committed here, whoever waits for it.
    async fn give_up(&mut self, error: &CommitError) {
        let (route, partition) = (&self.route, &self.state.partition);
        tracing::error!(%route, %partition, %error, "the route stalls until the router is started anew");
        self.state.stall(error.to_string());
        drop(self.stop.wait_for(|stop| *stop != Stop::No).await);
    }
}

impl Asked {
    /// Takes the next place in storage's queue.
    async fn ask(&mut self, storage: Arc<dyn Storage>, next: &Composed) {
        let unit = next.unit.clone();
        self.0.push_back(Asking::Awaited(Box::pin(async move { storage.commit(unit).await })));
        poll_fn(|context| {
            self.poll(context);
            Poll::Ready(())
        })
        .await;
    }

    /// Looks at all from the oldest on: each takes its place in the queue before the one behind it.
    fn poll(&mut self, context: &mut Context<'_>) {
        for asking in &mut self.0 {
            if let Asking::Awaited(answering) = asking
                && let Poll::Ready(answer) = answering.as_mut().poll(context)
            {
                *asking = Asking::Answered(answer);
            }
        }
    }

    /// The answer to the oldest. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Committed, CommitError> {
        poll_fn(|context| {
            self.poll(context);
            match self.0.pop_front() {
                Some(Asking::Answered(answer)) => Poll::Ready(answer),
                Some(awaited) => {
                    self.0.push_front(awaited);
                    Poll::Pending
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}
