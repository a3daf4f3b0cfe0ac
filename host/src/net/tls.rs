//! TLS 1.3 for the endpoint: the configured certificate, or a development one.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use waypost_protocol::ALPN;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain in PEM, the endpoint's own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file holds no PEM of its kind.
    #[error("{path} holds no {what} in PEM: {source}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What happened.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not go together, or are of no use.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// The development certificate could not be made.
    #[error("the development certificate could not be made: {0}")]
    Development(#[from] rcgen::Error),
    /// TLS has no cipher suite that QUIC needs.
    #[error("TLS lacks what QUIC needs: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The configuration of the endpoint's TLS; and the file that clients of a development certificate
/// trust.
pub(super) fn server_config(
    files: Option<&TlsFiles>,
    state_folder: &Path,
) -> Result<(QuicServerConfig, Option<PathBuf>), TlsError> {
    let (files, ca) = match files {
        Some(files) => (files.clone(), None),
        None => {
            let (files, ca) = development(state_folder)?;
            (files, Some(ca))
        }
    };
    let pem = |path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, what, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&files.certificate, "certificate"))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key, "private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Early data can be replayed by whoever saw it; a publish must not be.
    config.max_early_data_size = 0;
    Ok((config.try_into()?, ca))
}

/// A certificate for loopback names, made once. The authority's key is thrown away after its one
/// signature, so that trusting the authority means trusting this certificate alone.
fn development(state_folder: &Path) -> Result<(TlsFiles, PathBuf), TlsError> {
    let folder = state_folder.join("tls");
    let ca = folder.join("ca.pem");
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    if [&ca, &files.certificate, &files.key].iter().all(|path| path.exists()) {
        return Ok((files, ca));
    }
    fs::create_dir_all(&folder)
        .map_err(|source| TlsError::File { path: folder.clone(), source })?;

    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "Waypost development authority");
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut own = CertificateParams::new(names)?;
    own.distinguished_name.push(DnType::CommonName, "Waypost development router");
    let own_key = KeyPair::generate()?;
    let own_pem = own.signed_by(&own_key, &Issuer::new(authority, authority_key))?.pem();

    write(&files.key, &own_key.serialize_pem(), 0o600)?;
    write(&files.certificate, &own_pem, 0o644)?;
    write(&ca, &authority_pem, 0o644)?;
    tracing::info!(ca = %ca.display(), "made a development certificate; clients trust it by --ca");
    Ok((files, ca))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| TlsError::File { path: path.to_owned(), source })
}
