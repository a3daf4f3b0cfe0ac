//! From what a lane collected to the unit that is committed.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use waypost_core::{
    Advance, Output, Partition, RouteName, SettledOutputs, StreamTable, keep_outputs,
};
use waypost_storage::{Step, Unit};

use super::{parked::ParkedChange, returned::Leaving, store::appends};
use crate::router::outlet::Label;

/// What is to be committed at once.
#[derive(Debug)]
pub(in crate::router) struct Draft {
    pub(in crate::router) advance: Advance,
    pub(in crate::router) outputs: Vec<Output<Label>>,
    pub(in crate::router) parking: Vec<ParkedChange>,
    /// Letters that leave with it, if some do.
    pub(in crate::router) leaving: Option<Leaving>,
}

/// A unit, and what is done once it is committed.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) unit: Unit,
    pub(super) advance: Advance,
    /// What no stream keeps.
    pub(super) rest: Vec<Output<Label>>,
    /// Who waits for it.
    pub(super) committed: Option<oneshot::Sender<()>>,
    /// Held until then.
    pub(super) _room: OwnedSemaphorePermit,
}

/// Hands drafts over to be committed; their bytes are bounded.
#[derive(Debug, Clone)]
pub(in crate::router) struct DraftSender {
    sender: mpsc::Sender<(Draft, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    most: usize,
}

pub(super) type DraftReceiver = mpsc::Receiver<(Draft, OwnedSemaphorePermit)>;

/// For drafts of so many bytes at most, and a single one that is larger.
pub(super) fn drafts(bytes: usize) -> (DraftSender, DraftReceiver) {
    let (sender, receiver) = mpsc::channel(1);
    let most = bytes.clamp(1, Semaphore::MAX_PERMITS);
    (DraftSender { sender, room: Arc::new(Semaphore::new(most)), most }, receiver)
}

impl DraftSender {
    /// Awaits room. Where nothing is committed any more it does not come back: the lane is about to be ended.
    pub(in crate::router) async fn send(&self, draft: Draft) {
        let bytes = u32::try_from(draft.bytes().clamp(1, self.most)).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.clone().acquire_many_owned(bytes).await
            && self.sender.send((draft, room)).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl Draft {
    /// Whether it changes nothing.
    pub(in crate::router) fn is_empty(&self) -> bool {
        let Self { advance, outputs, parking, leaving } = self;
        let changes_nothing = outputs.is_empty() && parking.is_empty() && leaving.is_none();
        advance.from == advance.to && changes_nothing
    }

    fn bytes(&self) -> usize {
        let outputs = self.outputs.iter().map(|output| output.messages.batch().byte_len());
        let parked = self.parking.iter().filter_map(|change| change.parked.as_ref());
        outputs.chain(parked.map(|parked| parked.batch.byte_len())).sum()
    }

    /// The unit of a route's lane, taken in at this time.
    pub(super) fn compose(
        self,
        route: &RouteName,
        source: &Partition,
        streams: &StreamTable,
        now_ms: u64,
        room: OwnedSemaphorePermit,
    ) -> Composed {
        let Self { advance, outputs, parking, leaving } = self;
        let (groups, committed) = match leaving {
            Some(Leaving { steps, committed }) => (steps, Some(committed)),
            None => (Vec::new(), None),
        };
        let SettledOutputs { kept, rest } = keep_outputs(outputs, streams, source.index.0);
        let (mut park, mut unpark) = (Vec::new(), Vec::new());
        for ParkedChange { id, parked } in parking {
            match parked {
                Some(parked) => park.push(parked),
                None => unpark.push(id),
            }
        }
        let step = Step {
            route: route.clone(),
            source: source.clone(),
            from: Some(advance.from),
            to: advance.to,
            park,
            unpark,
        };
        let appends = appends(kept, Some((route, source)), now_ms);
        Composed {
            unit: Unit { appends, step: Some(step), groups },
            advance,
            rest,
            committed,
            _room: room,
        }
    }
}
