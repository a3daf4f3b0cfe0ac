//! A publisher's task: one stream after another, publishes out and results in.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};
use waypost_protocol::{ErrorCode, Frame, frame};

use super::{Shared, outbox::Transmit};
use crate::{
    Disconnected,
    link::{Broken, Follower, FrameReader, FrameWriter, Phase, Session},
};

/// A router that stops reading says why, or closes; this is how long it has.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Serves a publisher until it is closed or no stream will follow. `ready` is told when the first
/// stream is open, and dropped when there will be none.
pub(super) async fn run(shared: Arc<Shared>, follower: Follower, ready: oneshot::Sender<()>) {
    let attended = Attended(shared.clone());
    let reason = tokio::select! {
        reason = follow(&shared, follower, ready) => reason,
        () = shared.finished.notified() => Disconnected::Closed,
    };
    shared.fail(&reason);
    drop(attended);
}

/// Nothing waits for a task that is gone.
struct Attended(Arc<Shared>);

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.fail(&Disconnected::Closed);
    }
}

async fn follow(
    shared: &Shared,
    mut follower: Follower,
    ready: oneshot::Sender<()>,
) -> Disconnected {
    let mut ready = Some(ready);
    let mut session = follower.session().await;
    loop {
        let current = match session {
            Ok(session) => session,
            Err(reason) => return reason,
        };
        let conversing = current.converse();
        let (end, results) = match current.open().await {
            Ok(streams) => {
                shared.outbox().begin_stream(current.limits, &current.welcome.streams);
                // Nobody may wait for it any more.
                ready.take().map(|ready| ready.send(()));
                converse(shared, &current, streams).await
            }
            Err(broken) => (broken.into(), 0),
        };
        let broken = match end {
            End::Broken(broken) => broken,
            End::Final(reason) => return reason,
        };
        let lost = match broken {
            Broken::Lost | Broken::Late(_) => current.lost(),
            Broken::Refused { code, message } if code.is_mended_by_retry() => {
                Disconnected::lost(format!("the router ended the stream with {code}: {message}"))
            }
            Broken::Refused { code, message } => {
                return Disconnected::Rejected { code, message: message.into() };
            }
            Broken::Violation { code, message } => {
                current.break_off(code, &message);
                return current.lost();
            }
        };
        shared.lose(&lost);
        drop(conversing);
        if results > 0 {
            follower.succeeded();
        }
        session = follower.next(&current).await;
    }
}

/// How the conversation of a stream ends.
enum End {
    Broken(Broken),
    /// Another stream would not mend it.
    Final(Disconnected),
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Holds the conversation of one stream. Gives how it ended, and how many results came before.
async fn converse(
    shared: &Shared,
    session: &Session,
    (mut reader, mut writer): (FrameReader, FrameWriter),
) -> (End, u64) {
    let mut results = 0;
    let closing = async {
        session.reaches(Phase::Closing).await;
        shared.close();
        std::future::pending().await
    };
    let end = tokio::select! {
        end = read(shared, &mut reader, &mut results) => end,
        broken = write(shared, session, &mut writer) => broken.into(),
        end = closing => end,
    };
    (end, results)
}

async fn read(shared: &Shared, reader: &mut FrameReader, results: &mut u64) -> End {
    loop {
        match reader.next().await {
            Ok(Some(Frame::PublishResult(result))) => {
                let ends = end_of(&result);
                let handled = shared.outbox().handle_result(result);
                match handled {
                    Ok(resolved) => shared.resolve(resolved),
                    Err(message) => {
                        return Broken::violation(ErrorCode::UnexpectedFrame, message).into();
                    }
                }
                if let Some(broken) = ends {
                    return broken.into();
                }
                *results += 1;
            }
            Ok(Some(Frame::ProducerOpened(frame::ProducerOpened {
                refused: Some(why), ..
            }))) => {
                let resolved = shared.outbox().handle_not_opened(why);
                shared.resolve(resolved);
            }
            Ok(Some(Frame::ProducerOpened(opened))) => {
                if let Err(reason) = shared.outbox().handle_opened(opened.resumed) {
                    return End::Final(reason);
                }
            }
            Ok(Some(frame)) => return Broken::by(frame, "a publish stream").into(),
            Ok(None) => return Broken::Lost.into(),
            Err(broken) => return broken.into(),
        }
        // Room was made, and the open batch may have waited for it.
        shared.work.notify_one();
    }
}

/// Whether the router takes nothing more under this identity: because a newer life of the producer speaks, or
/// because it knows this one no longer, which is mended by saying on another stream who publishes.
fn end_of(result: &frame::PublishResult) -> Option<Broken> {
    let Some(frame::Outcome::Rejected(rejected)) = &result.outcome else {
        return None;
    };
    match ErrorCode::from_number(rejected.code)? {
        code @ ErrorCode::ProducerFenced => {
            Some(Broken::Refused { code: code.into(), message: rejected.message.clone() })
        }
        ErrorCode::UnknownProducer => Some(Broken::Lost),
        _ => None,
    }
}

async fn write(shared: &Shared, session: &Session, writer: &mut FrameWriter) -> Broken {
    while session.phase() != Phase::Draining {
        let transmit = shared.outbox().poll_transmit(Instant::now());
        match transmit {
            Transmit::Frame(publish, batch) => {
                if writer.write(&Frame::Publish(publish, batch)).await.is_err() {
                    tokio::time::sleep(LAST_WORDS).await;
                    return Broken::Lost;
                }
            }
            Transmit::Open(identity) => {
                let open =
                    frame::OpenProducer { producer_id: identity.id.0, epoch: identity.epoch.0 };
                if writer.write(&Frame::OpenProducer(open)).await.is_err() {
                    tokio::time::sleep(LAST_WORDS).await;
                    return Broken::Lost;
                }
            }
            Transmit::Unfit(resolved) => shared.resolve([resolved]),
            Transmit::Wait(until) => {
                let phase = session.phase();
                tokio::select! {
                    () = shared.work.notified() => {}
                    () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)),
                        if until.is_some() => {}
                    () = session.reaches(Phase::Draining), if phase == Phase::Open => {}
                }
            }
        }
    }
    // What was sent is still answered; the rest goes to the next router.
    writer.finish();
    std::future::pending().await
}

impl Shared {
    fn lose(&self, reason: &Disconnected) {
        let resolved = self.outbox().handle_lost(reason);
        self.resolve(resolved);
    }
}
