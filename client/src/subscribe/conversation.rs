//! A subscriber's task: one stream after another, deliveries in and credit out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use waypost_protocol::{
    Batch, Envelope, ErrorCode, Frame, Limits,
    frame::{Credit, Deliver, Subscribe, Unsubscribe},
};

use super::{DeliveredBatch, Event, Shared, SubscribeError, cost};
use crate::{
    Disconnected, RouterCode,
    link::{Broken, Follower, FrameReader, FrameWriter, Phase, Session},
};

/// What a batch adds to the one message in it, as the router counts.
pub(crate) const BATCH_OVERHEAD_BYTES: u64 = 128;
/// How long the router has to end the stream of an unsubscribed subscription.
pub(crate) const FAREWELL: Duration = Duration::from_secs(3);
/// How long a grant that is not worth a frame is put off. The router takes grants as a sign of life, and
/// ends a subscription without any that holds others up; its patience is a few seconds.
const GRANT_INTERVAL: Duration = Duration::from_millis(500);

/// How a conversation ended.
enum Ended {
    /// As this side wished.
    Left,
    /// A further one may follow.
    Lost,
    /// None follows.
    ForGood(SubscribeError),
}

/// Where messages go, and who is told that the subscription stands.
struct Outlet {
    queue: mpsc::Sender<Event>,
    /// Until it first stands.
    ready: Option<oneshot::Sender<()>>,
}

/// Serves a subscription until nobody wants it or no stream will follow. `ready` is told when it
/// first stands, and dropped when it will not.
pub(super) async fn run(
    shared: Arc<Shared>,
    follower: Follower,
    queue: mpsc::Sender<Event>,
    ready: oneshot::Sender<()>,
) {
    let mut outlet = Outlet { queue, ready: Some(ready) };
    match follow(&shared, follower, &mut outlet).await {
        Some(SubscribeError::Disconnected(Disconnected::Closed)) if outlet.ready.is_none() => {}
        // A subscriber that is gone needs no reason.
        Some(error) => drop(outlet.queue.send(Event::End(error)).await),
        None => {}
    }
}

async fn follow(
    shared: &Shared,
    mut follower: Follower,
    outlet: &mut Outlet,
) -> Option<SubscribeError> {
    let mut session = follower.session().await;
    loop {
        let current = match session {
            Ok(session) => session,
            Err(reason) => return Some(reason.into()),
        };
        let conversing = current.converse();
        let mut deliveries = 0;
        let ended = converse(shared, &current, outlet, &mut deliveries).await;
        shared.source.lost(&current);
        match ended {
            Ended::Left => return None,
            Ended::ForGood(error) => return Some(error),
            Ended::Lost => drop(conversing),
        }
        if deliveries > 0 {
            follower.succeeded();
        }
        session = tokio::select! {
            session = follower.next(&current) => session,
            () = shared.leaving.notified() => return None,
        };
    }
}

/// Holds the conversation of one stream.
async fn converse(
    shared: &Shared,
    session: &Session,
    outlet: &mut Outlet,
    deliveries: &mut u64,
) -> Ended {
    let begun = tokio::select! {
        begun = begin(shared, session) => begun,
        () = shared.leaving.notified() => return Ended::Left,
    };
    let (mut reader, mut writer) = match begun {
        Ok(streams) => streams,
        Err(broken) => return outlet.judge(session, broken),
    };
    shared.source.stands(session);
    match outlet.ready.take() {
        // Nobody may wait for it any more.
        Some(ready) => drop(ready.send(())),
        None => drop(outlet.queue.send(Event::Resumed).await),
    }
    let leaving = AtomicBool::new(false);
    let broken = tokio::select! {
        broken = read(shared, session, &outlet.queue, &mut reader, deliveries) => broken,
        () = write(shared, session, &mut writer, &leaving) => Broken::Lost,
    };
    if leaving.load(Ordering::Relaxed) {
        return Ended::Left;
    }
    outlet.judge(session, broken)
}

/// Opens a stream and subscribes on it.
async fn begin(shared: &Shared, session: &Session) -> Result<(FrameReader, FrameWriter), Broken> {
    let largest = u64::from(session.limits.max_message_bytes) + BATCH_OVERHEAD_BYTES;
    let credit = loop {
        let first = shared.window().begin(largest);
        match first {
            Some(credit) => break credit,
            None => shared.consumed.notified().await,
        }
    };
    let (mut reader, mut writer) = session.open().await?;
    let subscribe = Subscribe {
        pattern: shared.source.pattern(session),
        credit_messages: credit.messages,
        credit_bytes: credit.bytes,
        from: shared.reading().map(|reading| reading.ask()),
        join: None,
    };
    writer.write(&Frame::Subscribe(subscribe)).await?;
    match session.within_timeout(reader.next()).await? {
        Some(Frame::Subscribed(_)) => Ok((reader, writer)),
        Some(frame) => Err(Broken::by(frame, "a subscription before subscribed")),
        None => Err(Broken::Lost),
    }
}

async fn read(
    shared: &Shared,
    session: &Session,
    queue: &mpsc::Sender<Event>,
    reader: &mut FrameReader,
    deliveries: &mut u64,
) -> Broken {
    loop {
        let delivered = match reader.next().await {
            Ok(Some(Frame::Deliver(deliver, bytes))) => decode(&deliver, bytes, session.limits),
            Ok(Some(frame)) => return Broken::by(frame, "a subscription"),
            Ok(None) => return Broken::Lost,
            Err(broken) => return broken,
        };
        let delivered = match delivered {
            Ok(delivered) => delivered,
            Err(broken) => return broken,
        };
        if !shared.window().delivered(cost(&delivered)) {
            let message = "the router sent a delivery beyond the credit";
            return Broken::violation(ErrorCode::UnexpectedFrame, message);
        }
        *deliveries += 1;
        if let Some(mut reading) = shared.reading() {
            reading.delivered(&delivered.envelope, delivered.batch.len());
        }
        // The queue has a place for all that the credit allows, so this never waits. When nobody
        // reads it any more, the stream is about to end.
        let _ = queue.send(Event::Batch(delivered)).await;
    }
}

/// Writes credit until the subscription is to end, and then says so. Returns when the router had
/// its time to answer that.
async fn write(shared: &Shared, session: &Session, writer: &mut FrameWriter, leaving: &AtomicBool) {
    let mut ticks = tokio::time::interval(GRANT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = false;
    loop {
        let grant = tokio::select! {
            () = shared.consumed.notified() => shared.window().grant(),
            _ = ticks.tick() => shared.window().grant_rest(),
            () = shared.leaving.notified() => break,
            () = session.reaches(Phase::Closing) => break,
            () = session.reaches(Phase::Draining), if !draining => {
                draining = true;
                shared.source.leaves();
                None
            }
        };
        if let Some(amount) = grant {
            let credit = Credit { messages: amount.messages, bytes: amount.bytes };
            if writer.write(&Frame::Credit(credit)).await.is_err() {
                // Why the stream is gone is read on its other side.
                tokio::time::sleep(FAREWELL).await;
                return;
            }
        }
    }
    leaving.store(true, Ordering::Relaxed);
    if writer.write(&Frame::Unsubscribe(Unsubscribe {})).await.is_ok() {
        writer.finish();
        tokio::time::sleep(FAREWELL).await;
    }
}

pub(crate) fn decode(
    deliver: &Deliver,
    bytes: bytes::Bytes,
    limits: Limits,
) -> Result<DeliveredBatch, Broken> {
    let envelope = Envelope::decode(&deliver.envelope, deliver.envelope_crc32c)
        .map_err(|error| Broken::violation(ErrorCode::BadControl, error.to_string()))?;
    // What one message may be was agreed for publishing. A delivery may come from a publisher with
    // other limits, or have gained headers on its way; the frame bounds it.
    let limits = Limits { max_message_bytes: u32::MAX, max_headers: u16::MAX, ..limits };
    let batch = Batch::decode(bytes, &limits).map_err(|error| {
        let code = error.code();
        let code = if code.closes_connection() { code } else { ErrorCode::BadBatch };
        Broken::violation(code, error.to_string())
    })?;
    Ok(DeliveredBatch { batch, envelope: Arc::new(envelope) })
}

impl Outlet {
    /// What a broken conversation means for the subscription.
    fn judge(&self, session: &Session, broken: Broken) -> Ended {
        match broken {
            Broken::Lost => Ended::Lost,
            Broken::Late(after) if self.ready.is_some() => {
                Ended::ForGood(SubscribeError::Timeout { after })
            }
            Broken::Late(_) => Ended::Lost,
            Broken::Refused { code, message } if self.is_passing(code) => {
                tracing::debug!(%code, message, "the router ended a subscription for now");
                Ended::Lost
            }
            Broken::Refused { code, message } => {
                Ended::ForGood(SubscribeError::Rejected { code, message: message.into() })
            }
            Broken::Violation { code, message } => {
                session.break_off(code, &message);
                Ended::ForGood(session.lost().into())
            }
        }
    }

    /// Whether a refusal says nothing against this subscription on another stream.
    fn is_passing(&self, code: RouterCode) -> bool {
        let once_stood = self.ready.is_none();
        code == ErrorCode::ShuttingDown
            || (once_stood && (code == ErrorCode::Internal || code == ErrorCode::Overloaded))
    }
}
