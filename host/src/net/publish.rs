//! A publish stream: frames in, one result for each out.
//!
//! The next frame is read only when the router has taken the last one. An unread stream closes its
//! window, and so the router's pressure reaches the publisher.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;
use waypost_core::check_lifetimes;
use waypost_protocol::{
    Batch, Epoch, ErrorCode, Frame, ProducerId, Sequence,
    frame::{Committed, Outcome, ProducerOpened, Publish, PublishResult, Rejected},
};
use waypost_storage::Appended;

use super::{
    connection::{Peer, unexpected},
    frames::{FrameReader, FrameWriter, Violation},
    identity::{Action, Refusal, permit},
};
use crate::{
    router::{Origin, Pending, Published},
    streams::{Appending, ProducerSession, Refused, StreamTarget},
};

/// A publish that waits for its result.
struct Waiting {
    publish: Publish,
    admitted: Admitted,
}

/// What is to be answered.
enum Next {
    Publish(Waiting),
    /// The router knows who publishes.
    Opened(ProducerOpened),
}

/// What became of a publish so far.
enum Admitted {
    /// It goes to memory topics.
    Routed(Result<Pending, Published>),
    /// It goes to a stream.
    Appending(Box<Appending>),
    Refused(Refused),
}

/// Serves a publish stream from its first frame on.
pub(super) async fn serve(
    peer: &Peer,
    first: Frame,
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
    first: Frame,
    mut reader: FrameReader,
    waiting: mpsc::Sender<Next>,
) -> Result<(), Violation> {
    let (mut expected, mut session) = (0, None);
    let mut frame = Some(first);
    while let Some(taken) = frame {
        let next = match taken {
            Frame::Publish(publish, batch) => {
                check_sequence(&publish, &mut expected)?;
                let admitted = admit(peer, session.as_ref(), &publish, batch).await?;
                Next::Publish(Waiting { publish, admitted })
            }
            Frame::OpenProducer(_) if session.is_some() => {
                return Err(unexpected("a publish stream has one producer"));
            }
            Frame::OpenProducer(open) => {
                let (producer, epoch) = (ProducerId(open.producer_id), Epoch(open.epoch));
                match peer.shared.streams.open_producer(producer, epoch).await {
                    Ok((opened, resumed)) => {
                        session = Some(opened);
                        Next::Opened(ProducerOpened { resumed, refused: None })
                    }
                    Err(Refused { code, message }) if is_for_now(code) => {
                        peer.shared.metrics.error(code);
                        let refused = Some(Rejected { code: code.number(), message });
                        Next::Opened(ProducerOpened { resumed: false, refused })
                    }
                    Err(Refused { code, message }) => return Err(Violation::new(code, message)),
                }
            }
            _ => return Err(unexpected("a publish stream carries publish and open producer")),
        };
        if waiting.send(next).await.is_err() {
            return Err(Violation::Lost);
        }
        frame = reader.next().await?;
    }
    Ok(())
}

/// Whether a producer that is not opened for this reason may be so later on the same stream, whose other publishes go on.
fn is_for_now(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::StorageFull | ErrorCode::TooManyProducers)
}

/// Takes note that the messages of the stream are counted without gaps.
fn check_sequence(publish: &Publish, expected: &mut u64) -> Result<(), Violation> {
    if publish.first_sequence != *expected {
        let found = publish.first_sequence;
        let message = format!("a publish begins at sequence {found}, {expected} comes next");
        return Err(Violation::new(ErrorCode::SequenceGap, message));
    }
    *expected = expected.saturating_add(publish.count.into());
    Ok(())
}

async fn admit(
    peer: &Peer,
    session: Option<&ProducerSession>,
    publish: &Publish,
    bytes: Bytes,
) -> Result<Admitted, Violation> {
    let refused = |code, message| Ok(Admitted::Refused(Refused { code, message }));
    let batch = match Batch::decode(bytes, &peer.limits) {
        Ok(batch) => batch,
        Err(error) if error.code().closes_connection() => {
            return Err(Violation::new(error.code(), error.to_string()));
        }
        Err(error) => {
            return refused(error.code(), error.to_string());
        }
    };
    if batch.len() != publish.count as usize {
        let message = format!("the frame says {}, its batch has {}", publish.count, batch.len());
        return Err(Violation::new(ErrorCode::CountMismatch, message));
    }
    if let Err(Refusal { code, message }) = permit(&peer.identity, Action::Publish(&batch)) {
        return refused(code, message.to_owned());
    }
    if let Err(bad) = check_lifetimes(&batch) {
        return refused(ErrorCode::BadTtl, bad.to_string());
    }
    let streams = &peer.shared.streams;
    if publish.stream.is_empty() {
        if let Err(misplaced) = streams.table().check_memory(&batch) {
            return Ok(Admitted::Refused(misplaced.into()));
        }
        let origin = Origin { connection: peer.id };
        return Ok(Admitted::Routed(peer.shared.router.publish(origin, &batch).await));
    }
    let target = StreamTarget {
        stream: &publish.stream,
        partition: publish.partition,
        sequence: publish.producer_sequence.map(Sequence),
    };
    Ok(match streams.append(session, target, batch).await {
        Ok(appending) => Admitted::Appending(Box::new(appending)),
        Err(refused) => Admitted::Refused(refused),
    })
}

async fn answer(
    peer: &Peer,
    mut results: mpsc::Receiver<Next>,
    writer: &mut FrameWriter,
    most: usize,
) -> Result<(), Violation> {
    let mut running = FuturesUnordered::new();
    let mut open = true;
    while open || !running.is_empty() {
        tokio::select! {
            Some(result) = running.next(), if !running.is_empty() => {
                writer.write(&Frame::PublishResult(result?)).await?;
            }
            next = results.recv(), if open && running.len() < most => match next {
                Some(Next::Publish(waiting)) => running.push(finish(peer, waiting)),
                Some(Next::Opened(opened)) => {
                    writer.write(&Frame::ProducerOpened(opened)).await?;
                }
                None => open = false,
            },
        }
    }
    Ok(())
}

/// The result of a publish. When it is open whether the batch was stored, the stream ends without one: its
/// publisher asks again with the same identity.
async fn finish(peer: &Peer, waiting: Waiting) -> Result<PublishResult, Violation> {
    let committed = match waiting.admitted {
        Admitted::Routed(routed) => {
            let published = match routed {
                Ok(pending) => pending.outcome().await,
                Err(refused) => refused,
            };
            match published {
                Published::Committed { unrouted } => {
                    Ok(Committed { unrouted, ..Committed::default() })
                }
                Published::Rejected { code, message } => Err(Refused { code, message }),
            }
        }
        Admitted::Appending(appending) => {
            let appended = appending.outcome().await.ok_or(Violation::Lost)?;
            appended.map(|appended| match appended {
                Appended::Stored { first_offset } => {
                    Committed { offset: Some(first_offset.0), ..Committed::default() }
                }
                Appended::Duplicate { first_offset } => Committed {
                    offset: first_offset.map(|offset| offset.0),
                    duplicate: true,
                    ..Committed::default()
                },
            })
        }
        Admitted::Refused(refused) => Err(refused),
    };
    let publishes = &peer.shared.metrics.publishes;
    let outcome = match committed {
        Ok(committed) => {
            publishes.with_label_values(&["committed"]).inc();
            Outcome::Committed(committed)
        }
        Err(Refused { code, message }) => {
            publishes.with_label_values(&["rejected"]).inc();
            peer.shared.metrics.error(code);
            Outcome::Rejected(Rejected { code: code.number(), message })
        }
    };
    let Publish { first_sequence, count, .. } = waiting.publish;
    Ok(PublishResult { first_sequence, count, outcome: Some(outcome) })
}
