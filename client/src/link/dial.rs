//! From an address to a connection that the router has welcomed.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use quinn::{Connection, ConnectionError, Endpoint, VarInt};
use waypost_protocol::{
    ErrorCode, Frame, Limits,
    frame::{self, Hello, PROTOCOL_VERSION, Welcome},
};

use super::{
    frames::{Broken, FrameReader, FrameWriter},
    transport,
};
use crate::{ClientOptions, ConnectError, RouterCode};

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;
/// The next address is tried beside the ones before it after so long: UDP does not say that nobody
/// listens (the idea of RFC 8305).
const ADDRESS_DELAY: Duration = Duration::from_millis(100);

/// Makes connections to one router.
#[derive(Debug)]
pub(super) struct Dialer {
    options: ClientOptions,
    server_name: String,
    config: quinn::ClientConfig,
}

/// A connection that the router has welcomed, with its control stream.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
    pub(super) limits: Limits,
    pub(super) welcome: Welcome,
}

impl Dialer {
    pub(super) fn new(options: ClientOptions) -> Result<Self, ConnectError> {
        if options.authorities.is_empty() {
            return Err(ConnectError::NoAuthority);
        }
        let host = host(&options.address)
            .ok_or_else(|| ConnectError::Address { address: options.address.clone() })?;
        let server_name = options.server_name.clone().unwrap_or_else(|| host.to_owned());
        let config = transport::config(options.authorities.clone())?;
        Ok(Self { options, server_name, config })
    }

    pub(super) fn options(&self) -> &ClientOptions {
        &self.options
    }

    pub(super) async fn dial(&self) -> Result<Established, ConnectError> {
        let after = self.options.connect_timeout;
        let mut failed = None;
        match tokio::time::timeout(after, self.reach(&mut failed)).await {
            Ok(ended) => ended,
            // That an address answered with a failure says more than that another did not answer.
            Err(_) => Err(failed.unwrap_or_else(|| ConnectError::Timeout {
                address: self.options.address.clone(),
                after,
            })),
        }
    }

    async fn reach(&self, failed: &mut Option<ConnectError>) -> Result<Established, ConnectError> {
        let address = &self.options.address;
        let unresolved = |source| ConnectError::Resolve { address: address.clone(), source };
        let found = tokio::net::lookup_host(address).await.map_err(unresolved)?;
        let mut addresses: Vec<SocketAddr> = found.take(MOST_ADDRESSES).collect();
        // A router on loopback listens on 127.0.0.1 unless told otherwise.
        addresses.sort_by_key(|address| address.ip().is_loopback() && address.is_ipv6());
        let mut attempts: FuturesUnordered<_> = (0_u32..)
            .zip(addresses)
            .map(|(nth, address)| async move {
                tokio::time::sleep(ADDRESS_DELAY * nth).await;
                self.connect(address).await
            })
            .collect();
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok((endpoint, connection)) => {
                    drop(attempts);
                    return self.greet(endpoint, connection).await;
                }
                Err(error) if error.is_an_answer() => return Err(error),
                Err(error) => *failed = Some(error),
            }
        }
        let nothing = || unresolved(std::io::Error::from(std::io::ErrorKind::NotFound));
        Err(failed.take().unwrap_or_else(nothing))
    }

    async fn connect(&self, address: SocketAddr) -> Result<(Endpoint, Connection), ConnectError> {
        let endpoint = transport::endpoint(address)?;
        let connecting = endpoint
            .connect_with(self.config.clone(), address, &self.server_name)
            .map_err(|source| {
                let name = self.server_name.clone();
                ConnectError::ServerName { address, name, source }
            })?;
        match connecting.await {
            Ok(connection) => Ok((endpoint, connection)),
            Err(error) => Err(explain(address, error)),
        }
    }

    async fn greet(
        &self,
        endpoint: Endpoint,
        connection: Connection,
    ) -> Result<Established, ConnectError> {
        let opened = connection.open_bi().await;
        let (send, receive) =
            opened.map_err(|error| explain(connection.remote_address(), error))?;
        let ours = self.options.limits;
        let mut writer = FrameWriter::new(send);
        let mut reader = FrameReader::new(receive, ours.max_frame_bytes);
        let answer = match writer.write(&self.hello()).await {
            Ok(()) => reader.next().await,
            Err(broken) => Err(broken),
        };
        let welcomed = match answer {
            Ok(Some(Frame::Welcome(welcome))) => agree(ours, &welcome).map(|it| (welcome, it)),
            Ok(Some(frame)) => Err(Broken::by(frame, "the control stream before welcome").into()),
            Ok(None) | Err(Broken::Lost) => {
                Err(explain(connection.remote_address(), connection.closed().await))
            }
            Err(broken) => Err(broken.into()),
        };
        if let Err(ConnectError::Violation { code, message }) = &welcomed {
            connection.close(VarInt::from_u32(code.number()), message.as_bytes());
        }
        let (welcome, limits) = welcomed?;
        reader.set_max_frame_bytes(limits.max_frame_bytes);
        Ok(Established { endpoint, connection, reader, writer, limits, welcome })
    }

    fn hello(&self) -> Frame {
        Frame::Hello(Hello {
            versions: vec![PROTOCOL_VERSION],
            limits: Some(self.options.limits.into()),
            client_name: self.options.name.clone(),
            client_version: env!("CARGO_PKG_VERSION").into(),
            token: self.options.token.clone(),
        })
    }
}

fn agree(ours: Limits, welcome: &Welcome) -> Result<Limits, ConnectError> {
    if welcome.version != PROTOCOL_VERSION {
        let message = format!(
            "it welcomed to version {}, and this client speaks {PROTOCOL_VERSION}",
            welcome.version
        );
        return Err(ConnectError::Violation { code: ErrorCode::UnsupportedVersion, message });
    }
    Ok(frame::negotiate(ours, welcome.limits.as_ref())?)
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // Without brackets, the last colon of an IPv6 address would be taken for the port's.
    let host = bare.or_else(|| (!host.contains(':')).then_some(host))?;
    (!host.is_empty()).then_some(host)
}

impl From<Broken> for ConnectError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Refused { code, message } => Self::Rejected { code, message },
            Broken::Violation { code, message } => Self::Violation { code, message },
            // Neither comes here: a lost connection is explained, and the whole is timed.
            Broken::Lost | Broken::Late(_) => Self::Violation {
                code: ErrorCode::UnexpectedFrame,
                message: "it ended the control stream before welcome".into(),
            },
        }
    }
}

/// The TLS alerts that stand in a close code (RFC 8446, section 6, and RFC 7301, section 3.2).
const BAD_CERTIFICATE: u64 = 42;
const NO_APPLICATION_PROTOCOL: u64 = 120;

/// What a failed handshake means for whoever has to mend it.
fn explain(address: SocketAddr, error: ConnectionError) -> ConnectError {
    let alert = |code: u64| (0x100..0x200).contains(&code).then_some(code & 0xff);
    match &error {
        ConnectionError::TransportError(failure) => {
            let reason = failure.reason.clone();
            match alert(failure.code.into()) {
                Some(NO_APPLICATION_PROTOCOL) => ConnectError::Protocol { address },
                Some(BAD_CERTIFICATE) if reason.contains("not valid for name") => {
                    ConnectError::WrongName { address, reason }
                }
                Some(_) if reason.contains("certificate") => {
                    ConnectError::Untrusted { address, reason }
                }
                _ => ConnectError::Transport { address, source: error },
            }
        }
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            if alert(code) == Some(NO_APPLICATION_PROTOCOL) {
                ConnectError::Protocol { address }
            } else if code == u64::from(quinn::TransportErrorCode::CONNECTION_REFUSED) {
                ConnectError::Refused { address }
            } else {
                ConnectError::Transport { address, source: error }
            }
        }
        ConnectionError::ApplicationClosed(close) => {
            let (code, message) = closed_with(close);
            ConnectError::Rejected { code, message }
        }
        _ => ConnectError::Transport { address, source: error },
    }
}

/// How a connection ended, in words for whoever used it.
pub(super) fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let (code, message) = closed_with(close);
            format!("the router closed it with {code}: {message}")
        }
        other => other.to_string(),
    }
}

/// The reason with which the router closed a connection.
pub(super) fn closed_with(close: &quinn::ApplicationClose) -> (RouterCode, String) {
    let number = u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX);
    let text: String = String::from_utf8_lossy(&close.reason).chars().take(1000).collect();
    (RouterCode::from_number(number), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (address, expected) in [
            ("localhost:4433", Some("localhost")),
            ("127.0.0.1:4433", Some("127.0.0.1")),
            ("[::1]:4433", Some("::1")),
            ("::1:4433", None),
            ("localhost", None),
            (":4433", None),
            ("localhost:port", None),
            ("localhost:70000", None),
        ] {
            assert_eq!(host(address), expected, "{address}");
        }
    }
}
