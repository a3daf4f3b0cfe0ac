//! Why there is no connection, or no longer one.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use waypost_protocol::{Epoch, ErrorCode, LimitsError, ProducerId};

/// A number that the router gave as its reason; a newer router may give one that is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouterCode(u32);

/// Why there is no authority to trust.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The file could not be read, or is no PEM.
    #[error(
        "cannot read an authority from {path}: {source}; pass the CA file that the router printed at start-up"
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: rustls_pki_types::pem::Error,
    },
    /// The text is no PEM.
    #[error("the authority is no PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// There is PEM, and no certificate in it.
    #[error("the PEM holds no certificate; pass the CA file that the router printed at start-up")]
    Empty,
    /// A certificate in it is of no use.
    #[error("the authority cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No authority was given, and there are no built-in ones.
    #[error(
        "no authority to check the router's certificate with; pass the CA file that the router \
         printed at start-up (ClientOptions::ca_file, --ca)"
    )]
    NoAuthority,
    /// The address is not `host:port`.
    #[error("{address:?} is no address; write host:port, such as 127.0.0.1:4433")]
    Address {
        /// What was given.
        address: String,
    },
    /// The host's name leads to no address.
    #[error("cannot resolve {address}: {source}; check the name and the port")]
    Resolve {
        /// What was given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// There is no UDP socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The server's name is neither a DNS name nor an address.
    #[error("cannot connect to {address} as {name:?}: {source}; set ClientOptions::server_name")]
    ServerName {
        /// Where to.
        address: SocketAddr,
        /// The name that was to be checked.
        name: String,
        /// What is wrong with it.
        source: quinn::ConnectError,
    },
    /// The authority did not sign the router's certificate.
    #[error(
        "the router at {address} is not trusted: {reason}; pass the CA file that this router \
         printed at start-up (ClientOptions::ca_file, --ca)"
    )]
    Untrusted {
        /// Where it is.
        address: SocketAddr,
        /// What the check said.
        reason: String,
    },
    /// The certificate is trusted and made for other names.
    #[error(
        "the certificate of the router at {address} has another name: {reason}; connect by a name \
         that it has, or set ClientOptions::server_name"
    )]
    WrongName {
        /// Where it is.
        address: SocketAddr,
        /// What the check said.
        reason: String,
    },
    /// The peer speaks another application protocol.
    #[error(
        "the peer at {address} does not speak waypost/1; check that the port is the router's and \
         that both are of one version"
    )]
    Protocol {
        /// Where it is.
        address: SocketAddr,
    },
    /// The peer takes no connection now.
    #[error(
        "the router at {address} refused the connection; it has as many as it may or is stopping: \
         try again after a while"
    )]
    Refused {
        /// Where it is.
        address: SocketAddr,
    },
    /// Nobody answered in time.
    #[error(
        "no answer from {address} within {after:?}; check that the router runs, listens there, and \
         that no firewall drops UDP"
    )]
    Timeout {
        /// What was given.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection failed in another way.
    #[error("the connection to {address} failed: {source}")]
    Transport {
        /// Where to.
        address: SocketAddr,
        /// What QUIC said.
        source: quinn::ConnectionError,
    },
    /// The router took the connection and closed it with a reason.
    #[error("the router closed the connection with {code}: {message}{}", Hint(*.code))]
    Rejected {
        /// The reason.
        code: RouterCode,
        /// The router's words.
        message: String,
    },
    /// The router answered hello with something else than welcome.
    #[error("the router broke the protocol: {message} ({code})")]
    Violation {
        /// What it was told when the connection was closed.
        code: ErrorCode,
        /// What it did.
        message: String,
    },
    /// The router's limits are too small.
    #[error("the limits do not go together: {0}; raise them in the router or the client")]
    Limits(#[from] LimitsError),
}

/// Why there is no longer a connection, for good.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnected {
    /// The client, the publisher or the subscriber was closed or dropped.
    #[error("it was closed on this side")]
    Closed,
    /// The connection was lost.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// What was seen of it.
        reason: Arc<str>,
    },
    /// As many attempts to reconnect failed as were allowed.
    #[error("gave up after {attempts} attempts to reconnect: {source}")]
    GaveUp {
        /// How many there were.
        attempts: u32,
        /// How the last one failed.
        source: Arc<ConnectError>,
    },
    /// The router closed the connection for a reason that another attempt cannot mend.
    #[error("the router closed the connection with {code}: {message}{}", Hint(*.code))]
    Rejected {
        /// The reason.
        code: RouterCode,
        /// The router's words.
        message: Arc<str>,
    },
    /// The identity of the publisher had been another publisher's: nothing of this one was stored.
    #[error(
        "another publisher has spoken as producer {producer} in its epoch {epoch}; begin each life of a publisher \
         with a greater epoch (PublisherOptions::producer)"
    )]
    EpochUsed {
        /// The producer.
        producer: ProducerId,
        /// The epoch it was to begin with.
        epoch: Epoch,
    },
    /// The router did what the protocol does not allow, and the connection was closed.
    #[error("the router broke the protocol: {message} ({code})")]
    Violation {
        /// What it was told.
        code: ErrorCode,
        /// What it did.
        message: Arc<str>,
    },
}

impl RouterCode {
    /// The code of a number.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// What it stands for, if this version knows it.
    #[must_use]
    pub fn known(self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.0)
    }

    /// Whether connecting again could help a connection that was closed with it.
    pub(crate) fn is_mended_by_retry(self) -> bool {
        match self.known() {
            None
            | Some(
                ErrorCode::HandshakeTimeout
                | ErrorCode::StalledFrame
                | ErrorCode::TooManyConnections,
            ) => true,
            Some(ErrorCode::Forbidden | ErrorCode::ProducerFenced) => false,
            Some(code) => !code.closes_connection(),
        }
    }
}

impl From<ErrorCode> for RouterCode {
    fn from(code: ErrorCode) -> Self {
        Self(code.number())
    }
}

impl PartialEq<ErrorCode> for RouterCode {
    fn eq(&self, other: &ErrorCode) -> bool {
        self.0 == other.number()
    }
}

impl fmt::Display for RouterCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => code.fmt(formatter),
            None => self.0.fmt(formatter),
        }
    }
}

/// What to do about a code, as the end of a sentence.
pub(crate) struct Hint(pub(crate) RouterCode);

impl fmt::Display for Hint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.known() {
            Some(code) => write!(formatter, "; {}", code.hint()),
            None => Ok(()),
        }
    }
}

impl ConnectError {
    /// Whether another attempt could succeed without anybody changing the client.
    pub(crate) fn is_mended_by_retry(&self) -> bool {
        match self {
            Self::Rejected { code, .. } => code.is_mended_by_retry(),
            Self::NoAuthority
            | Self::Address { .. }
            | Self::Violation { .. }
            | Self::Limits(_)
            | Self::Tls(_) => false,
            _ => true,
        }
    }

    /// Whether a router was there and said something that another of its addresses would say too.
    pub(crate) fn is_an_answer(&self) -> bool {
        matches!(
            self,
            Self::Untrusted { .. }
                | Self::WrongName { .. }
                | Self::Protocol { .. }
                | Self::Rejected { .. }
        )
    }
}

impl Disconnected {
    pub(crate) fn lost(reason: impl Into<Arc<str>>) -> Self {
        Self::Lost { reason: reason.into() }
    }
}
