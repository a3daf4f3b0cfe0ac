//! A member's task: one stream after another, deliveries in, credit and what is said of them out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};
use waypost_protocol::{
    ErrorCode, Frame,
    frame::{
        Acknowledged, Credit, Deliver, Extend, Join, Joined, ReadFrom, Settle, Start, Subscribe,
        Unsubscribe, Verb,
    },
};

use super::{CREDIT_MESSAGES, Event, Given, GroupStart, LONGEST_LEASE, Lent, SettleError, Shared};
use crate::{
    Disconnected, From, RouterCode, SubscribeError,
    link::{Broken, Follower, FrameReader, FrameWriter, Phase, Session},
    subscribe::{Amount, BATCH_OVERHEAD_BYTES, FAREWELL, cost, decode},
};

/// How long a grant that is not worth a frame is put off.
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

/// Where messages go, and who is told that the member has joined.
struct Outlet {
    queue: mpsc::Sender<Event>,
    /// Until it first has.
    ready: Option<oneshot::Sender<()>>,
}

/// Serves a member until nobody wants it or no stream will follow. `ready` is told when it has first joined, and
/// dropped when it will not.
pub(super) async fn run(
    shared: Arc<Shared>,
    follower: Follower,
    queue: mpsc::Sender<Event>,
    ready: oneshot::Sender<()>,
) {
    let mut outlet = Outlet { queue, ready: Some(ready) };
    let ended = follow(&shared, follower, &mut outlet).await;
    shared.lose();
    match ended {
        Some(SubscribeError::Disconnected(Disconnected::Closed)) if outlet.ready.is_none() => {}
        // A member that is gone needs no reason.
        Some(error) => drop(outlet.queue.send(Event::End(error)).await),
        None => {}
    }
}

async fn follow(
    shared: &Arc<Shared>,
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
        shared.lose();
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
    shared: &Arc<Shared>,
    session: &Session,
    outlet: &mut Outlet,
    deliveries: &mut u64,
) -> Ended {
    let begun = tokio::select! {
        begun = begin(shared, session) => begun,
        () = shared.leaving.notified() => return Ended::Left,
    };
    let (mut reader, mut writer, joined) = match begun {
        Ok(streams) => streams,
        Err(broken) => return outlet.judge(session, broken),
    };
    if let Some(ready) = outlet.ready.take() {
        // Nobody may wait for it any more.
        let _ = ready.send(());
    }
    let leaving = AtomicBool::new(false);
    let broken = tokio::select! {
        broken = read(shared, session, &outlet.queue, &mut reader, deliveries) => broken,
        () = write(shared, session, &outlet.queue, &mut writer, &joined, &leaving) => Broken::Lost,
    };
    if leaving.load(Ordering::Relaxed) {
        return Ended::Left;
    }
    outlet.judge(session, broken)
}

/// Opens a stream and joins on it.
async fn begin(
    shared: &Shared,
    session: &Session,
) -> Result<(FrameReader, FrameWriter, Joined), Broken> {
    let largest = u64::from(session.limits.max_message_bytes) + BATCH_OVERHEAD_BYTES;
    let credit = loop {
        let first = shared.window().begin(largest);
        match first {
            Some(credit) => break credit,
            None => shared.consumed.notified().await,
        }
    };
    let (mut reader, mut writer) = session.open().await?;
    let join = Join {
        group: shared.group.clone(),
        member: shared.options.name.clone(),
        max_in_flight: shared.options.max_in_flight.unwrap_or(0),
    };
    let subscribe = Subscribe {
        pattern: shared.pattern.to_string(),
        credit_messages: credit.messages.min(CREDIT_MESSAGES),
        credit_bytes: credit.bytes,
        from: shared.options.from.map(from),
        join: Some(join),
    };
    writer.write(&Frame::Subscribe(subscribe)).await?;
    match session.within_timeout(reader.next()).await? {
        Some(Frame::Subscribed(subscribed)) => match subscribed.joined {
            Some(joined) => Ok((reader, writer, joined)),
            None => {
                let message = "the router knows no groups; upgrade it";
                Err(Broken::violation(ErrorCode::UnexpectedFrame, message))
            }
        },
        Some(frame) => Err(Broken::by(frame, "a group before joined")),
        None => Err(Broken::Lost),
    }
}

fn from(start: GroupStart) -> ReadFrom {
    let start = match start {
        GroupStart::End => None,
        GroupStart::From(From::Beginning) => Some(Start::Beginning(true)),
        GroupStart::From(From::Offset(offset)) => Some(Start::Offset(offset.0)),
        GroupStart::From(From::Time(ms)) => Some(Start::TimeMs(ms)),
    };
    ReadFrom { start, ..ReadFrom::default() }
}

async fn read(
    shared: &Shared,
    session: &Session,
    queue: &mpsc::Sender<Event>,
    reader: &mut FrameReader,
    deliveries: &mut u64,
) -> Broken {
    // What is refused of a frame may come in parts.
    let mut refused = BTreeMap::new();
    let stream = shared.state().stream;
    loop {
        let (deliver, bytes) = match reader.next().await {
            Ok(Some(Frame::Deliver(deliver, bytes))) => (deliver, bytes),
            Ok(Some(Frame::Acknowledged(answer))) => {
                shared.answered(answer, &mut refused);
                continue;
            }
            Ok(Some(frame)) => return Broken::by(frame, "a member's stream"),
            Ok(None) => return Broken::Lost,
            Err(broken) => return broken,
        };
        let given = match given(&deliver, bytes, session, stream) {
            Ok(given) => given,
            Err(broken) => return broken,
        };
        if !shared.window().delivered(cost(&given.batch)) {
            let message = "the router sent a delivery beyond the credit";
            return Broken::violation(ErrorCode::UnexpectedFrame, message);
        }
        *deliveries += 1;
        shared.lend(&given);
        // When nobody reads it any more, the stream is about to end.
        let _ = queue.send(Event::Given(given)).await;
    }
}

fn given(
    deliver: &Deliver,
    bytes: bytes::Bytes,
    session: &Session,
    stream: u64,
) -> Result<Given, Broken> {
    let batch = decode(deliver, bytes, session.limits)?;
    let Some(lease) = deliver.lease.clone() else {
        let message = "the router gave a member a delivery without a lease";
        return Err(Broken::violation(ErrorCode::UnexpectedFrame, message));
    };
    Ok(Given { batch: Arc::new(batch), lease, stream })
}

/// Writes credit and what is said until the member is to leave, and then says so. Returns when the router had its
/// time to answer that.
async fn write(
    shared: &Shared,
    session: &Session,
    queue: &mpsc::Sender<Event>,
    writer: &mut FrameWriter,
    joined: &Joined,
    leaving: &AtomicBool,
) {
    let mut ticks = tokio::time::interval(GRANT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lease = Duration::from_millis(joined.lease_ms.max(1));
    let mut extends = tokio::time::interval_at(Instant::now() + lease / 3, lease / 3);
    extends.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let grant = tokio::select! {
            () = shared.consumed.notified() => shared.window().grant(),
            _ = ticks.tick() => shared.window().grant_rest(),
            () = shared.said.notified() => None,
            _ = extends.tick() => {
                shared.keep_alive(lease);
                shared.sign_of_life(queue)
            }
            () = shared.leaving.notified() => break,
            () = session.reaches(Phase::Closing) => break,
        };
        if let Some(amount) = grant {
            let credit = Credit { messages: amount.messages, bytes: amount.bytes };
            if writer.write(&Frame::Credit(credit)).await.is_err() {
                return gone().await;
            }
        }
        if say(shared, writer).await.is_err() {
            return gone().await;
        }
    }
    leaving.store(true, Ordering::Relaxed);
    let said = say(shared, writer).await;
    if said.is_ok() && writer.write(&Frame::Unsubscribe(Unsubscribe {})).await.is_ok() {
        writer.finish();
        tokio::time::sleep(FAREWELL).await;
    }
}

/// Why the stream is gone is read on its other side.
async fn gone() {
    tokio::time::sleep(FAREWELL).await;
}

/// Says whatever there is to say.
async fn say(shared: &Shared, writer: &mut FrameWriter) -> Result<(), Broken> {
    loop {
        let next = shared.state().outbox.next_frame();
        match next {
            Some(frame) => writer.write(&Frame::Acknowledge(frame)).await?,
            None => return Ok(()),
        }
    }
}

impl Shared {
    /// The stream is gone, and with it what was held.
    fn lose(&self) {
        let mut state = self.state();
        state.stream += 1;
        state.outbox.clear();
        state.leases.clear();
    }

    /// Takes note of a delivery.
    fn lend(&self, given: &Given) {
        let duration = Duration::from_millis(given.lease.duration_ms).min(LONGEST_LEASE);
        let (left, ends) = (given.batch.batch.len(), Instant::now() + duration);
        let lent = Lent { left, abandoned: 0, ends };
        let mut state = self.state();
        state.duration = duration;
        state.leases.insert(given.lease.id, lent);
    }

    /// Extends what waits for an application that goes on: one that stands still loses it to others. A lease of which
    /// nobody holds anything any more ends, so that what was dropped comes again.
    fn keep_alive(&self, lease: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        state.leases.retain(|_, lent| lent.ends > now);
        if state.active.is_none_or(|active| active.elapsed() >= lease) {
            return;
        }
        let held = state.leases.iter().filter(|(_, lent)| lent.left > lent.abandoned);
        let mut leases: Vec<u64> = held.map(|(lease, _)| *lease).collect();
        leases.sort_unstable();
        for lease in leases {
            state.extended(lease, None);
            let verb = Some(Verb::Extend(Extend { by_ms: None }));
            state.outbox.say(Settle { lease, verb, ..Settle::default() }, None);
        }
    }

    /// A grant of nothing, while the application waits for messages: the router gives nothing more to a member whose
    /// lease ran out until it hears of it, and one that let go of a message without a word has nothing else to say.
    fn sign_of_life(&self, queue: &mpsc::Sender<Event>) -> Option<Amount> {
        let is_empty = queue.capacity() == queue.max_capacity();
        (is_empty && self.state().waits).then_some(Amount::new(0, 0))
    }

    fn answered(&self, answer: Acknowledged, refused: &mut BTreeMap<u32, (u32, String)>) {
        let Acknowledged { request, refusals, more } = answer;
        let mut state = self.state();
        for refusal in refusals {
            let (lease, code) = (refusal.lease, refusal.code);
            tracing::debug!(lease, code, "the router refused what was said of messages");
            if ErrorCode::from_number(code) == Some(ErrorCode::StaleLease) {
                state.leases.remove(&lease);
            }
            refused.insert(refusal.settle, (refusal.code, refusal.message));
        }
        if more {
            return;
        }
        let told = request.map(|request| state.outbox.answered(request, refused));
        drop(state);
        refused.clear();
        for (waiting, outcome) in told.unwrap_or_default() {
            let outcome = outcome.map_err(|(code, message)| SettleError::Refused {
                code: RouterCode::from_number(code),
                message: message.into(),
            });
            // Whoever waited may have gone.
            drop(waiting.send(outcome));
        }
    }
}

impl Outlet {
    /// What a broken conversation means for the member.
    fn judge(&self, session: &Session, broken: Broken) -> Ended {
        let once_joined = self.ready.is_none();
        match broken {
            Broken::Lost => Ended::Lost,
            Broken::Late(after) if !once_joined => {
                Ended::ForGood(SubscribeError::Timeout { after })
            }
            Broken::Late(_) => Ended::Lost,
            Broken::Refused { code, message } if is_passing(code, once_joined) => {
                tracing::debug!(%code, message, "the router ended a member's stream for now");
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
}

/// Whether a refusal says nothing against this member on another stream.
fn is_passing(code: RouterCode, once_joined: bool) -> bool {
    let passing = [ErrorCode::Internal, ErrorCode::Overloaded, ErrorCode::StorageFenced];
    code == ErrorCode::ShuttingDown || (once_joined && passing.iter().any(|each| code == *each))
}
