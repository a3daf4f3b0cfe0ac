//! What a client is made with.

use std::{fmt, path::Path, time::Duration};

use bytes::Bytes;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use waypost_protocol::Limits;

use crate::{AuthorityError, Reconnect};

/// Where the router is, whom to trust, and how to go on when the connection is lost.
///
/// ```
/// use waypost_client::{ClientOptions, Reconnect};
///
/// let options = ClientOptions::new("localhost:4433")
///     .name("thermometer")
///     .reconnect(Reconnect { attempts: Some(10), ..Reconnect::default() });
/// ```
#[derive(Clone)]
pub struct ClientOptions {
    pub(crate) address: String,
    pub(crate) server_name: Option<String>,
    pub(crate) authorities: RootCertStore,
    pub(crate) token: Bytes,
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) connect_timeout: Duration,
    pub(crate) reconnect: Reconnect,
    pub(crate) max_requests: usize,
}

impl ClientOptions {
    /// Options for the router at `host:port`; an IPv6 address stands in brackets.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            server_name: None,
            authorities: RootCertStore::empty(),
            token: Bytes::new(),
            name: String::new(),
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(5),
            reconnect: Reconnect::default(),
            max_requests: 1024,
        }
    }

    /// The name that the router's certificate must have, when it is not the address's host.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Trusts the authorities of a PEM file, such as the one that a router prints at start-up. No
    /// other authority is trusted, those of the system included.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds no usable certificate.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Result<Self, AuthorityError> {
        let path = path.as_ref();
        let refused = |source| AuthorityError::File { path: path.to_owned(), source };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(refused)?;
        self.trust(certificates)?;
        Ok(self)
    }

    /// Trusts the authorities of a PEM text.
    ///
    /// # Errors
    ///
    /// A text that is no PEM or holds no usable certificate.
    pub fn ca_pem(mut self, pem: &[u8]) -> Result<Self, AuthorityError> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
        self.trust(certificates)?;
        Ok(self)
    }

    /// What proves to the router who the client is.
    #[must_use]
    pub fn token(mut self, token: impl Into<Bytes>) -> Self {
        self.token = token.into();
        self
    }

    /// What the client calls itself, for the router's logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What this side accepts; the smaller of this and the router's limits holds.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// From resolving the name to the router's welcome, and for its answer to a subscribe; 5 s
    /// unless set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether and how a lost connection is made again. The first one is tried once.
    #[must_use]
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Requests that wait for their reply at a time; 1024 unless set. Beyond them a request waits for
    /// another to end, within its own time.
    #[must_use]
    pub fn max_requests(mut self, requests: usize) -> Self {
        self.max_requests = requests;
        self
    }

    fn trust(&mut self, certificates: Vec<CertificateDer<'static>>) -> Result<(), AuthorityError> {
        if certificates.is_empty() {
            return Err(AuthorityError::Empty);
        }
        for certificate in certificates {
            self.authorities.add(certificate)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret, and secrets do not belong in logs.
        formatter
            .debug_struct("ClientOptions")
            .field("address", &self.address)
            .field("server_name", &self.server_name)
            .field("authorities", &self.authorities.len())
            .field("name", &self.name)
            .field("limits", &self.limits)
            .field("connect_timeout", &self.connect_timeout)
            .field("reconnect", &self.reconnect)
            .field("max_requests", &self.max_requests)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let options = ClientOptions::new("localhost:1").token("a-secret");
        assert!(!format!("{options:?}").contains("a-secret"));
    }

    #[test]
    fn what_holds_no_certificate_is_refused() {
        let options = || ClientOptions::new("localhost:1");
        assert!(matches!(options().ca_pem(b"no PEM"), Err(AuthorityError::Empty)));
        let error = options().ca_file("/nowhere/ca.pem").expect_err("there is no such file");
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
