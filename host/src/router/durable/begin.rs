//! How a lane begins: with the progress and the parked messages that are stored, or where its route is to begin.

use waypost_core::Progress;
use waypost_protocol::Offset;
use waypost_storage::{CommitError, ParkedMessage, ReadError, Step, Unit};

use super::{
    lanes::LaneParts,
    store::{Pauses, Refusal},
};

/// What a lane begins with.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) progress: Progress,
    pub(super) parked: Vec<ParkedMessage>,
}

/// Why it does not begin yet.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Finds what is stored, however often storage fails. Where the lane is new its beginning is stored first, so that
/// it misses nothing that comes after.
pub(super) async fn begin(parts: &LaneParts) -> Begun {
    let (route, state) = (&parts.plan.definition.name, &parts.state);
    let partition = &state.partition;
    let mut pauses = Pauses::default();
    loop {
        let error = match try_begin(parts).await {
            Ok((progress, parked)) => {
                state.go_on();
                state.set_parked(parked.len());
                state.begin(Some(progress));
                return Begun { progress: Progress::new(progress), parked };
            }
            Err(error) => error,
        };
        if state.stalled().is_none() {
            tracing::error!(%route, %partition, %error, "the route does not begin; trying again");
        }
        state.stall(error.to_string());
        if let NotYet::Commit(error) = &error
            && matches!(Refusal::of(error), Refusal::Closed | Refusal::Fenced)
        {
            state.begin(None);
            return std::future::pending().await;
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn try_begin(parts: &LaneParts) -> Result<(Offset, Vec<ParkedMessage>), NotYet> {
    let (route, partition) = (&parts.plan.definition.name, &parts.state.partition);
    let storage = parts.fanout.streams.storage();
    let parked = storage.parked(route.clone(), partition.clone()).await?;
    if let Some(progress) = storage.progress(route.clone(), partition.clone()).await? {
        return Ok((progress, parked));
    }
    let (park, unpark) = (Vec::new(), Vec::new());
    let (route, source, to) = (route.clone(), partition.clone(), parts.start);
    let step = Step { route, source, from: None, to, park, unpark };
    storage.commit(Unit { step: Some(step), ..Unit::default() }).await?;
    Ok((to, parked))
}
