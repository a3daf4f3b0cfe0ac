//! What a publisher waits for: the lanes and queues that its batch went to.

use tokio::sync::oneshot;
use waypost_protocol::{ConnectionId, ErrorCode};

/// Where a batch comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The publisher's connection, which decides the lane together with the key.
    pub connection: ConnectionId,
}

/// How a publish ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The outputs of every matching route are in their queues.
    Committed {
        /// Some message matched no route and no subscription.
        unrouted: bool,
    },
    /// Nothing of it will be delivered any more.
    Rejected {
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        message: String,
    },
}

/// A batch that was admitted; it commits once every lane has handed on what came of it.
#[derive(Debug)]
pub struct Pending {
    pub(super) lanes: Vec<oneshot::Receiver<()>>,
    pub(super) unrouted: bool,
}

impl Pending {
    /// Waits for the end. A lane that went away without saying so means that the router is stopping.
    pub async fn outcome(self) -> Published {
        for lane in self.lanes {
            if lane.await.is_err() {
                return Published::rejected(ErrorCode::ShuttingDown);
            }
        }
        Published::Committed { unrouted: self.unrouted }
    }
}

impl Published {
    pub(super) fn rejected(code: ErrorCode) -> Self {
        Self::Rejected { code, message: code.meaning().to_owned() }
    }
}
