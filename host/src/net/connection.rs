//! One connection: the handshake, the control stream, and a task for each further stream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quinn::{Connecting, Connection, VarInt};
use tokio::{sync::watch, task::JoinSet};
use waypost_core::{StreamDefinition, StreamTable};
use waypost_protocol::{
    ConnectionId, ErrorCode, Frame, Limits,
    frame::{self, GoingAway, Hello, PROTOCOL_VERSION, Pong, Stream, Welcome},
};

use super::{
    NetSettings,
    endpoint::Shared,
    frames::{FrameReader, FrameWriter, Violation},
    identity::Identity,
    metrics::Standing,
    publish,
    registry::Registered,
    subscription,
};

/// What the streams of a connection share.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    /// What held when it connected.
    pub(super) settings: Arc<NetSettings>,
    pub(super) id: ConnectionId,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    pub(super) subscriptions: AtomicUsize,
    pub(super) registered: Registered,
}

/// A connection that was let in; its handshake ends when the guard is dropped.
pub(super) struct Entrant {
    pub(super) connecting: Connecting,
    pub(super) handshake: Standing,
    pub(super) id: ConnectionId,
    pub(super) settings: Arc<NetSettings>,
}

pub(super) async fn serve(entrant: Entrant, shared: Arc<Shared>) {
    let Entrant { connecting, handshake, id, settings } = entrant;
    let remote = connecting.remote_address();
    let connection = match tokio::time::timeout(settings.handshake_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        // TLS has told the peer, in an alert of its own.
        Ok(Err(error)) => {
            shared.metrics.error(ErrorCode::HandshakeFailed);
            tracing::debug!(connection = %id, %remote, %error, "a handshake failed");
            return;
        }
        Err(_) => {
            shared.metrics.error(ErrorCode::HandshakeTimeout);
            return;
        }
    };
    let _standing = shared.metrics.connected();
    if let Err(Violation::Told { code, message }) =
        converse(&connection, id, &settings, handshake, &shared).await
    {
        let remote = connection.remote_address();
        if code == ErrorCode::ShuttingDown {
            tracing::debug!(connection = %id, %remote, "let a client go");
        } else {
            shared.metrics.error(code);
            tracing::warn!(connection = %id, %remote, %code, message, "closed a connection");
        }
        connection.close(VarInt::from_u32(code.number()), message.as_bytes());
    }
}

async fn converse(
    connection: &Connection,
    id: ConnectionId,
    settings: &Arc<NetSettings>,
    handshake: Standing,
    shared: &Arc<Shared>,
) -> Result<(), Violation> {
    let late = |_| Violation::new(ErrorCode::HandshakeTimeout, "no complete hello came in time");
    let shaken = shake_hands(connection, id, settings, shared);
    let shaken = tokio::time::timeout(settings.handshake_timeout, shaken).await;
    let (mut reader, mut writer, peer) = shaken.map_err(late)??;
    drop(handshake);
    let mut stopping = shared.stopping.clone();
    let mut told = false;
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let Ok((send, receive)) = stream else {
                    return Ok(());
                };
                streams.spawn(stream_of(peer.clone(), send, receive));
            }
            frame = reader.next() => match frame? {
                Some(Frame::Ping(ping)) => {
                    writer.write(&Frame::Pong(Pong { nonce: ping.nonce })).await?;
                }
                Some(Frame::Pong(_)) => {}
                Some(_) => return Err(unexpected("the control stream carries ping and pong")),
                // A client that ends its control stream is done.
                None => return Ok(()),
            },
            deadline = stopped(&mut stopping), if !told => {
                told = true;
                writer.write(&going_away(deadline)).await?;
                if streams.is_empty() {
                    break;
                }
            }
            Some(ended) = streams.join_next(), if !streams.is_empty() => {
                // A stream's panic is ours; the connection goes on without that stream.
                if let Ok(Err(violation)) = ended {
                    return Err(violation);
                }
                if told && streams.is_empty() {
                    break;
                }
            }
        }
    }
    // The router stops and this client has nothing open: it is let go once it has read so.
    writer.finish().await;
    Err(Violation::new(ErrorCode::ShuttingDown, ErrorCode::ShuttingDown.meaning()))
}

async fn shake_hands(
    connection: &Connection,
    id: ConnectionId,
    settings: &Arc<NetSettings>,
    shared: &Arc<Shared>,
) -> Result<(FrameReader, FrameWriter, Arc<Peer>), Violation> {
    let (send, receive) = connection.accept_bi().await.map_err(|_| Violation::Lost)?;
    let ours = settings.limits;
    let mut reader =
        FrameReader::new(receive, ours.max_frame_bytes, settings.stalled_frame_timeout);
    let mut writer = FrameWriter::new(send);
    let hello = match reader.next().await? {
        Some(Frame::Hello(hello)) => hello,
        Some(_) => return Err(unexpected("the first frame is hello")),
        None => return Err(Violation::Lost),
    };
    let limits = agree(&hello, ours)?;
    reader.set_max_frame_bytes(limits.max_frame_bytes);
    let identity = Identity::of(&hello);
    tracing::debug!(connection = %id, ?identity, client = hello.client_version, "connected");
    let streams = shared.streams.table();
    writer.write(&welcome(id, limits, settings.idle_timeout, streams)).await?;
    let subscriptions = AtomicUsize::new(0);
    let registered = shared.connections.register(id, connection, &identity, &hello.client_version);
    let (shared, settings) = (shared.clone(), settings.clone());
    let peer = Peer { shared, settings, id, identity, limits, subscriptions, registered };
    Ok((reader, writer, Arc::new(peer)))
}

/// Resolves with the deadline once the router stops.
async fn stopped(stopping: &mut watch::Receiver<Option<Duration>>) -> Duration {
    // The sender lives as long as the server; when it is gone the router stops at once.
    stopping.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline).unwrap_or_default()
}

fn agree(hello: &Hello, ours: Limits) -> Result<Limits, Violation> {
    if !hello.versions.contains(&PROTOCOL_VERSION) {
        let message = format!(
            "this router speaks version {PROTOCOL_VERSION}, the client {:?}",
            hello.versions.iter().take(8).collect::<Vec<_>>()
        );
        return Err(Violation::new(ErrorCode::UnsupportedVersion, message));
    }
    frame::negotiate(ours, hello.limits.as_ref())
        .map_err(|error| Violation::new(ErrorCode::LimitsTooSmall, error.to_string()))
}

fn welcome(id: ConnectionId, limits: Limits, idle: Duration, streams: &StreamTable) -> Frame {
    let stream = |stream: &StreamDefinition| Stream {
        name: stream.name.as_str().into(),
        topics: stream.topics.iter().map(|pattern| pattern.as_str().into()).collect(),
        partitions: stream.partitions.get(),
    };
    Frame::Welcome(Welcome {
        version: PROTOCOL_VERSION,
        limits: Some(limits.into()),
        router_name: "waypost".into(),
        router_version: env!("CARGO_PKG_VERSION").into(),
        connection_id: id.0,
        key_hash: "xxh3".into(),
        idle_timeout_ms: u32::try_from(idle.as_millis()).unwrap_or(u32::MAX),
        streams: streams.all().iter().map(stream).collect(),
    })
}

fn going_away(deadline: Duration) -> Frame {
    Frame::GoingAway(GoingAway {
        reason: "the router is stopping".into(),
        deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
    })
}

pub(super) fn unexpected(message: &str) -> Violation {
    Violation::new(ErrorCode::UnexpectedFrame, message)
}

/// Serves one stream. An error that does not close the connection is told on the stream alone.
async fn stream_of(
    peer: Arc<Peer>,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
) -> Result<(), Violation> {
    let settings = &peer.settings;
    let metrics = peer.shared.metrics.clone();
    let limit = peer.limits.max_frame_bytes;
    let mut reader = FrameReader::new(receive, limit, settings.stalled_frame_timeout);
    let mut writer = FrameWriter::new(send);
    let _standing = (metrics.stream(), peer.registered.stream());
    let ended = match reader.next().await {
        Ok(Some(first @ (Frame::Publish(..) | Frame::OpenProducer(_)))) => {
            publish::serve(&peer, first, reader, &mut writer).await
        }
        Ok(Some(Frame::Subscribe(subscribe))) => {
            subscription::serve(&peer, subscribe, reader, &mut writer).await
        }
        Ok(Some(_)) => Err(unexpected("a stream begins with publish, open producer or subscribe")),
        Ok(None) => Ok(()),
        Err(violation) => Err(violation),
    };
    match ended {
        Err(Violation::Told { code, message }) if !code.closes_connection() => {
            metrics.error(code);
            writer.write(&Frame::error(code, message)).await.unwrap_or_default();
            writer.finish().await;
            Ok(())
        }
        Err(Violation::Lost) => Ok(()),
        Err(violation) => Err(violation),
        Ok(()) => {
            writer.finish().await;
            Ok(())
        }
    }
}

/// Counts a subscription of the connection while it stands.
pub(super) struct Seat<'a>(&'a Peer);

impl Peer {
    pub(super) fn take_seat(&self) -> Option<Seat<'_>> {
        let most = self.settings.max_subscriptions;
        let seat = Seat(self);
        (self.subscriptions.fetch_add(1, Ordering::AcqRel) < most).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.subscriptions.fetch_sub(1, Ordering::AcqRel);
    }
}
