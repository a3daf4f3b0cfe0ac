//! Keeps the connection: attends its control stream, and makes the next one when it is lost.

use std::{sync::Arc, time::Duration};

use quinn::ConnectionError;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use waypost_protocol::{
    Frame,
    frame::{GoingAway, Ping, Pong},
};

use super::{
    Broken, FrameReader, FrameWriter, LinkState, Phase, Session,
    dial::{Dialer, Established, closed_with, describe},
    transport::KEEP_ALIVE,
};
use crate::{ConnectError, Disconnected, backoff::Backoff};

/// Pings are no more frequent than this, whatever idle timeout the router names.
const SHORTEST_PING: Duration = Duration::from_millis(100);

pub(super) struct Driver {
    dialer: Dialer,
    state: watch::Sender<LinkState>,
    closing: watch::Receiver<bool>,
    control: Control,
    session: Arc<Session>,
}

struct Control {
    reader: FrameReader,
    writer: FrameWriter,
}

/// How a session ended.
enum Ended {
    /// Another one may follow.
    Lost(Disconnected),
    /// No other follows.
    ForGood(Disconnected),
}

impl Driver {
    pub(super) fn new(
        dialer: Dialer,
        established: Established,
        closing: watch::Receiver<bool>,
    ) -> (Self, watch::Receiver<LinkState>) {
        let (session, control) = begin(&dialer, 1, established);
        let (state, follow) = watch::channel(LinkState::Up(session.clone()));
        (Self { dialer, state, closing, control, session }, follow)
    }

    pub(super) async fn run(mut self) {
        let policy = self.dialer.options().reconnect;
        let mut backoff = Backoff::new(policy);
        loop {
            let began = Instant::now();
            let lost = match attend(&self.session, &mut self.control, &mut self.closing).await {
                Ended::Lost(lost) => lost,
                Ended::ForGood(reason) => return self.end(reason),
            };
            tracing::warn!(reason = %lost, "the connection to the router ended; connecting again");
            self.state.send_replace(LinkState::Waiting);
            // One that ends as soon as it stands counts as a failed attempt.
            if began.elapsed() >= policy.max {
                backoff.reset();
            }
            let established = tokio::select! {
                made = reconnect(&self.dialer, &mut backoff, lost) => made,
                () = wanted(&mut self.closing) => Err(Disconnected::Closed),
            };
            match established {
                Ok(established) => {
                    let number = self.session.number + 1;
                    (self.session, self.control) = begin(&self.dialer, number, established);
                    tracing::info!("connected to the router again");
                    self.state.send_replace(LinkState::Up(self.session.clone()));
                }
                Err(reason) => return self.end(reason),
            }
        }
    }

    fn end(self, reason: Disconnected) {
        self.session.close("");
        self.state.send_replace(LinkState::Down(reason));
    }
}

fn begin(dialer: &Dialer, number: u64, established: Established) -> (Arc<Session>, Control) {
    let timeout = dialer.options().connect_timeout;
    let (session, reader, writer) = Session::new(number, established, timeout);
    (Arc::new(session), Control { reader, writer })
}

async fn reconnect(
    dialer: &Dialer,
    backoff: &mut Backoff,
    lost: Disconnected,
) -> Result<Established, Disconnected> {
    let mut failed = None;
    while let Some(delay) = backoff.next(rand::random()) {
        tokio::time::sleep(delay).await;
        match dialer.dial().await {
            Ok(established) => return Ok(established),
            Err(error) if error.is_mended_by_retry() => {
                tracing::warn!(%error, attempt = backoff.attempts(), "could not connect again");
                failed = Some(error);
            }
            Err(error) => return Err(for_good(error, backoff.attempts())),
        }
    }
    let attempts = backoff.attempts();
    Err(failed.map_or(lost, |error| Disconnected::GaveUp { attempts, source: Arc::new(error) }))
}

fn for_good(error: ConnectError, attempts: u32) -> Disconnected {
    match error {
        ConnectError::Rejected { code, message } => {
            Disconnected::Rejected { code, message: message.into() }
        }
        ConnectError::Violation { code, message } => {
            Disconnected::Violation { code, message: message.into() }
        }
        other => Disconnected::GaveUp { attempts, source: Arc::new(other) },
    }
}

/// Resolves once the client is to be closed.
async fn wanted(closing: &mut watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        // The handles are gone, and this task is about to be aborted.
        std::future::pending::<()>().await;
    }
}

/// Serves a session's control stream to its end.
async fn attend(
    session: &Session,
    control: &mut Control,
    closing: &mut watch::Receiver<bool>,
) -> Ended {
    let every = ping_interval(session.welcome.idle_timeout_ms);
    let mut ping = tokio::time::interval(every.unwrap_or(KEEP_ALIVE));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leave_by = None;
    loop {
        let phase = session.phase();
        let handled = tokio::select! {
            frame = control.reader.next() => match frame {
                Ok(Some(Frame::GoingAway(away))) => {
                    leave_by = Some(go_away(session, &away));
                    Ok(())
                }
                Ok(Some(frame)) => control.handle(frame).await,
                Ok(None) | Err(Broken::Lost) => Err(Broken::Lost),
                Err(broken) => Err(broken),
            },
            () = wanted(closing), if phase < Phase::Closing => {
                session.enter(Phase::Closing);
                Ok(())
            }
            () = session.is_quiet(), if phase > Phase::Open => return leave(session),
            () = sleep_until(leave_by) => return leave(session),
            _ = ping.tick(), if every.is_some() => {
                control.writer.write(&Frame::Ping(Ping { nonce: 0 })).await
            }
        };
        if let Err(broken) = handled {
            return end_of(session, broken).await;
        }
    }
}

impl Control {
    async fn handle(&mut self, frame: Frame) -> Result<(), Broken> {
        match frame {
            Frame::Ping(ping) => self.writer.write(&Frame::Pong(Pong { nonce: ping.nonce })).await,
            Frame::Pong(_) => Ok(()),
            other => Err(Broken::by(other, "the control stream")),
        }
    }
}

fn go_away(session: &Session, away: &GoingAway) -> Instant {
    tracing::info!(reason = away.reason, deadline_ms = away.deadline_ms, "the router goes away");
    session.enter(Phase::Draining);
    Instant::now() + Duration::from_millis(away.deadline_ms.into())
}

/// Ends a session on which nothing goes on any more, or for which there is no more time.
fn leave(session: &Session) -> Ended {
    if session.phase() == Phase::Closing {
        session.close("the client is done");
        Ended::ForGood(Disconnected::Closed)
    } else {
        session.close("the router goes away");
        Ended::Lost(Disconnected::lost("the router went away"))
    }
}

async fn end_of(session: &Session, broken: Broken) -> Ended {
    match broken {
        Broken::Violation { code, message } => session.break_off(code, &message),
        Broken::Refused { code, message } => {
            session.close("");
            return if code.is_mended_by_retry() {
                Ended::Lost(Disconnected::lost(format!("{code}: {message}")))
            } else {
                Ended::ForGood(Disconnected::Rejected { code, message: message.into() })
            };
        }
        // The router ends the control stream only with the connection; this ends it for both.
        Broken::Lost | Broken::Late(_) if session.connection.close_reason().is_none() => {
            let closed = tokio::time::timeout(KEEP_ALIVE, session.connection.closed()).await;
            if closed.is_err() {
                session.close("the control stream ended");
            }
        }
        Broken::Lost | Broken::Late(_) => {}
    }
    if let Some(violation) = session.violation() {
        return Ended::ForGood(violation);
    }
    let closed = session.connection.closed().await;
    if let ConnectionError::ApplicationClosed(close) = &closed {
        let (code, message) = closed_with(close);
        if !code.is_mended_by_retry() {
            return Ended::ForGood(Disconnected::Rejected { code, message: message.into() });
        }
    }
    Ended::Lost(Disconnected::lost(describe(&closed)))
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// How often to ping, when QUIC's own keep-alive is too rare for the router's idle timeout.
fn ping_interval(idle_timeout_ms: u32) -> Option<Duration> {
    let third = Duration::from_millis(idle_timeout_ms.into()) / 3;
    (idle_timeout_ms > 0 && third < KEEP_ALIVE).then_some(third.max(SHORTEST_PING))
}

#[cfg(test)]
mod tests {
    use waypost_protocol::ErrorCode;

    use super::*;

    #[test]
    fn pings_stand_in_where_the_keep_alive_is_too_rare() {
        for (idle_timeout_ms, expected) in
            [(0, None), (30_000, None), (9_000, None), (3_000, Some(1_000)), (30, Some(100))]
        {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(ping_interval(idle_timeout_ms), expected, "{idle_timeout_ms}");
        }
    }

    #[test]
    fn a_limit_that_cannot_be_agreed_ends_it_for_good() {
        let error = ConnectError::Violation { code: ErrorCode::BadFrame, message: "x".into() };
        assert!(matches!(for_good(error, 3), Disconnected::Violation { .. }));
        assert!(matches!(for_good(ConnectError::NoAuthority, 3), Disconnected::GaveUp { .. }));
    }
}
