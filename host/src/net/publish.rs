//! A publish stream: frames in, one result for each out.
//!
//! The next frame is read only when the router has taken the last one. An unread stream closes its
//! window, and so the router's pressure reaches the publisher.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;
use waypost_protocol::{
    Batch, ErrorCode, Frame,
    frame::{Committed, Outcome, Publish, PublishResult, Rejected},
};

use super::{
    connection::{Peer, unexpected},
    frames::{FrameReader, FrameWriter, Violation},
    identity::{Action, Refusal, permit},
};
use crate::router::{Origin, Pending, Published};

/// A publish that waits for its result.
struct Waiting {
    publish: Publish,
    admitted: Result<Pending, Published>,
}

pub(super) async fn serve(
    peer: &Peer,
    first: (Publish, Bytes),
    reader: FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), Violation> {
    let most = peer.settings.max_in_flight.max(1);
    let (waiting, results) = mpsc::channel(most);
    let taking = take(peer, first, reader, waiting);
    let answering = answer(peer, results, writer, most);
    // A breach ends both at once; otherwise what was taken is still answered.
    tokio::try_join!(taking, answering).map(|_| ())
}

async fn take(
    peer: &Peer,
    first: (Publish, Bytes),
    mut reader: FrameReader,
    waiting: mpsc::Sender<Waiting>,
) -> Result<(), Violation> {
    let mut expected = 0;
    let mut next = Some(first);
    while let Some((publish, batch)) = next {
        if publish.first_sequence != expected {
            let found = publish.first_sequence;
            let message = format!("a publish begins at sequence {found}, {expected} comes next");
            return Err(Violation::new(ErrorCode::SequenceGap, message));
        }
        expected = expected.saturating_add(publish.count.into());
        let admitted = admit(peer, &publish, batch).await?;
        if waiting.send(Waiting { publish, admitted }).await.is_err() {
            return Err(Violation::Lost);
        }
        next = match reader.next().await? {
            Some(Frame::Publish(publish, batch)) => Some((publish, batch)),
            Some(_) => return Err(unexpected("a publish stream carries publish frames")),
            None => None,
        };
    }
    Ok(())
}

async fn admit(
    peer: &Peer,
    publish: &Publish,
    bytes: Bytes,
) -> Result<Result<Pending, Published>, Violation> {
    let batch = match Batch::decode(bytes, &peer.limits) {
        Ok(batch) => batch,
        Err(error) if error.code().closes_connection() => {
            return Err(Violation::new(error.code(), error.to_string()));
        }
        Err(error) => {
            return Ok(Err(Published::Rejected { code: error.code(), message: error.to_string() }));
        }
    };
    if batch.len() != publish.count as usize {
        let message = format!("the frame says {}, its batch has {}", publish.count, batch.len());
        return Err(Violation::new(ErrorCode::CountMismatch, message));
    }
    if let Err(Refusal { code, message }) = permit(&peer.identity, Action::Publish(&batch)) {
        return Ok(Err(Published::Rejected { code, message: message.to_owned() }));
    }
    Ok(peer.shared.router.publish(Origin { connection: peer.id }, &batch).await)
}

async fn answer(
    peer: &Peer,
    mut results: mpsc::Receiver<Waiting>,
    writer: &mut FrameWriter,
    most: usize,
) -> Result<(), Violation> {
    let mut running = FuturesUnordered::new();
    let mut open = true;
    while open || !running.is_empty() {
        tokio::select! {
            Some(result) = running.next(), if !running.is_empty() => {
                writer.write(&Frame::PublishResult(result)).await?;
            }
            next = results.recv(), if open && running.len() < most => match next {
                Some(waiting) => running.push(finish(peer, waiting)),
                None => open = false,
            },
        }
    }
    Ok(())
}

async fn finish(peer: &Peer, waiting: Waiting) -> PublishResult {
    let published = match waiting.admitted {
        Ok(pending) => pending.outcome().await,
        Err(refused) => refused,
    };
    let publishes = &peer.shared.metrics.publishes;
    let outcome = match published {
        Published::Committed { unrouted } => {
            publishes.with_label_values(&["committed"]).inc();
            Outcome::Committed(Committed { offset: None, duplicate: false, unrouted })
        }
        Published::Rejected { code, message } => {
            publishes.with_label_values(&["rejected"]).inc();
            peer.shared.metrics.error(code);
            Outcome::Rejected(Rejected { code: code.number(), message })
        }
    };
    let Publish { first_sequence, count } = waiting.publish;
    PublishResult { first_sequence, count, outcome: Some(outcome) }
}
