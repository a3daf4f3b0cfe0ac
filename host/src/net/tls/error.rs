//! Why there is no TLS.

use std::{io, path::PathBuf};

/// Why a certificate is not used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}; put the file there, readable for the router", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file of the development certificate cannot be written.
    #[error(
        "{path}: {source}; set router.state_folder to a folder that can be written",
        path = path.display()
    )]
    Write {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file holds no whole PEM of its kind.
    #[error("{path} holds no {what} in PEM: {source}; write the whole file again", path = path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What happened.
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate of the chain is none.
    #[error(
        "certificate {position} of the chain in {path} cannot be parsed: {reason}; write the chain \
         again, the router's own certificate first",
        path = path.display()
    )]
    Chain {
        /// Which file.
        path: PathBuf,
        /// Which certificate, from 1.
        position: usize,
        /// What is wrong.
        reason: String,
    },
    /// The key is of another certificate.
    #[error(
        "the key in {key} is not that of the first certificate in {certificate}; put the files of one \
         certificate there, its own certificate first in the chain",
        key = key.display(),
        certificate = certificate.display()
    )]
    Mismatch {
        /// The file of the key.
        key: PathBuf,
        /// The file of the chain.
        certificate: PathBuf,
    },
    /// TLS has no use for the certificate or its key.
    #[error(
        "the certificate in {path} cannot be used: {source}; use one with an ECDSA, Ed25519 or RSA key",
        path = path.display()
    )]
    Unusable {
        /// The file of the chain.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Clients refuse it, and there is a better one.
    #[error("the certificate in {path} has expired on {on}; put a renewed one there", path = path.display())]
    Expired {
        /// The file of the chain.
        path: PathBuf,
        /// When.
        on: String,
    },
    /// Clients refuse it for now, and there is a better one.
    #[error(
        "the certificate in {path} is valid from {from} on; it is taken then, unless the clock of this \
         machine is wrong",
        path = path.display()
    )]
    NotYetValid {
        /// The file of the chain.
        path: PathBuf,
        /// When.
        from: String,
    },
    /// The development certificate could not be made.
    #[error(
        "the development certificate could not be made: {0}; set listen.certificate and listen.key"
    )]
    Development(#[from] rcgen::Error),
    /// TLS has no cipher suite that QUIC needs.
    #[error("TLS lacks what QUIC needs: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The thread that reads the files went down.
    #[error("reading the certificate failed on the router's own account: {0}")]
    Internal(String),
}
