//! TLS 1.3 for the endpoint: the configured certificate, or a development one.

mod development;
mod error;
mod pair;
mod validity;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use development::DEVELOPMENT_CA_FILE;
pub use error::TlsError;
pub(super) use pair::{Fingerprint, Pair};
use quinn::crypto::rustls::QuicServerConfig;
use waypost_protocol::ALPN;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain in PEM, the endpoint's own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// Where the endpoint's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) files: TlsFiles,
    /// The authority that clients must trust, when the certificate is the development one.
    pub(super) ca: Option<PathBuf>,
}

impl Source {
    /// The configured files, or those of the development certificate, which is made where there is none.
    pub(super) fn of(files: Option<&TlsFiles>, state_folder: &Path) -> Result<Self, TlsError> {
        match files {
            Some(files) => Ok(Self { files: files.clone(), ca: None }),
            None => development::certificate(state_folder),
        }
    }

    /// The folders that hold the files.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let folder = |file: &Path| match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut folders = vec![folder(&self.files.certificate), folder(&self.files.key)];
        folders.dedup();
        folders
    }
}

/// The endpoint's TLS with this certificate. Sessions that were made with another are not resumed.
pub(super) fn server_config(pair: Pair) -> Result<QuicServerConfig, TlsError> {
    let unusable = |source| TlsError::Unusable { path: pair.files.certificate.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair.certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Early data can be replayed by whoever saw it; a publish must not be.
    config.max_early_data_size = 0;
    Ok(config.try_into()?)
}
