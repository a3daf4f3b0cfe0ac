//! The development certificate.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::{Source, TlsError, TlsFiles};

/// The file below the state folder that holds the authority of the development certificate.
pub const DEVELOPMENT_CA_FILE: &str = "tls/ca.pem";

/// A certificate for loopback names, made once. The authority's key is thrown away after its one
/// signature, so that trusting the authority means trusting this certificate alone.
pub(super) fn certificate(state_folder: &Path) -> Result<Source, TlsError> {
    let folder = state_folder.join("tls");
    let ca = state_folder.join(DEVELOPMENT_CA_FILE);
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    if [&ca, &files.certificate, &files.key].iter().all(|path| path.exists()) {
        return Ok(Source { files, ca: Some(ca) });
    }
    fs::create_dir_all(&folder)
        .map_err(|source| TlsError::Write { path: folder.clone(), source })?;

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
    Ok(Source { files, ca: Some(ca) })
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
        .map_err(|source| TlsError::Write { path: path.to_owned(), source })
}
