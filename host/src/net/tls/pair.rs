//! A certificate with its key, read and checked.

use std::{fs, path::Path};

use rustls::{InconsistentKeys, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};

use super::{
    TlsError, TlsFiles,
    validity::{Moment, Validity},
};

/// A certificate chain with the key of its first certificate; they go together.
#[derive(Debug)]
pub(in crate::net) struct Pair {
    pub(super) files: TlsFiles,
    pub(super) certified: CertifiedKey,
    /// Of the bytes in both files.
    pub(in crate::net) fingerprint: Fingerprint,
    valid_from: Moment,
    /// When the first certificate of the chain expires.
    expires: Moment,
}

/// SHA-256 of a chain and its key as they stand in their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct Fingerprint([u8; 32]);

impl Pair {
    /// Reads the files.
    pub(in crate::net) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let bytes = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
        };
        Self::parse(files, &bytes(&files.certificate)?, &bytes(&files.key)?)
    }

    fn parse(files: &TlsFiles, certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pem = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, what, source }
        };
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(pem(&files.certificate, "certificate"))?;
        let parsed_key =
            PrivateKeyDer::from_pem_slice(key).map_err(pem(&files.key, "private key"))?;
        let validity = chain.iter().zip(1..).map(|(der, position)| {
            Validity::of(der).map_err(|error| TlsError::Chain {
                path: files.certificate.clone(),
                position,
                reason: error.to_string(),
            })
        });
        let validity = validity.collect::<Result<Vec<_>, _>>()?;
        let valid_from = validity.iter().map(|validity| validity.from.clone()).max();
        let expires = validity.into_iter().map(|validity| validity.to).min();
        let Some((valid_from, expires)) = valid_from.zip(expires) else {
            let source = rustls_pki_types::pem::Error::NoItemsFound;
            return Err(pem(&files.certificate, "certificate")(source));
        };
        let provider = rustls::crypto::ring::default_provider();
        let certified =
            CertifiedKey::from_der(chain, parsed_key, &provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    let TlsFiles { certificate, key } = files.clone();
                    TlsError::Mismatch { key, certificate }
                }
                source => TlsError::Unusable { path: files.certificate.clone(), source },
            })?;
        let digest = Sha256::new()
            .chain_update((certificate.len() as u64).to_le_bytes())
            .chain_update(certificate)
            .chain_update(key)
            .finalize();
        let fingerprint = Fingerprint(digest.into());
        Ok(Self { files: files.clone(), certified, fingerprint, valid_from, expires })
    }

    /// Seconds from the Unix epoch to the moment when the first certificate of the chain expires.
    pub(in crate::net) fn expires(&self) -> i64 {
        self.expires.seconds
    }

    /// The same as a date.
    pub(in crate::net) fn expiry(&self) -> &str {
        &self.expires.date
    }

    /// Why clients refuse it at this time, in seconds since the Unix epoch, if they do.
    pub(in crate::net) fn unfit(&self, now: i64) -> Option<TlsError> {
        let path = self.files.certificate.clone();
        if now > self.expires.seconds {
            Some(TlsError::Expired { path, on: self.expires.date.clone() })
        } else if now < self.valid_from.seconds {
            Some(TlsError::NotYetValid { path, from: self.valid_from.date.clone() })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const DAY: i64 = 86_400;
    /// The beginning of the year 2026.
    const START: i64 = 1_767_225_600;

    fn files() -> TlsFiles {
        TlsFiles { certificate: "cert.pem".into(), key: "key.pem".into() }
    }

    /// A certificate for these days of January 2026, with its key.
    fn pair(from: u8, to: u8) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, 1, from), date_time_ymd(2026, 1, to));
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    fn check(certificate: &str, key: &str, expected: &str) {
        let error = Pair::parse(&files(), certificate.as_bytes(), key.as_bytes());
        let error = error.expect_err("it is no pair").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("; "), "{error} says nothing of what to do");
    }

    #[test]
    fn what_is_no_pair_is_refused_and_says_which_file_is_wrong() {
        let ((certificate, key), (_, other_key)) = (pair(1, 31), pair(1, 31));
        let half = |text: &str| text.get(..text.len() / 2).unwrap_or_default().to_owned();
        let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check("", &key, "cert.pem holds no certificate");
        check(&half(&certificate), &key, "cert.pem holds no certificate");
        check(&certificate, "", "key.pem holds no private key");
        check(&certificate, &half(&key), "key.pem holds no private key");
        check(&certificate, &other_key, "the key in key.pem is not that of the first certificate");
        check(not_x509, &key, "certificate 1 of the chain in cert.pem");
        check(&format!("{certificate}{not_x509}"), &key, "certificate 2 of the chain");
    }

    #[test]
    fn a_chain_is_valid_while_all_its_certificates_are() {
        let (own, key) = pair(1, 31);
        let (above, _) = pair(2, 10);
        let chain = format!("{own}{above}");
        let pair = Pair::parse(&files(), chain.as_bytes(), key.as_bytes()).expect("a pair");
        assert_eq!((pair.expires(), pair.expiry()), (START + 9 * DAY, "2026-01-10"));
        let unfit = |day| pair.unfit(START + day * DAY);
        assert!(matches!(unfit(0), Some(TlsError::NotYetValid { .. })));
        assert!(unfit(1).is_none() && unfit(9).is_none());
        assert!(matches!(unfit(10), Some(TlsError::Expired { .. })));
    }

    #[test]
    fn the_fingerprint_tells_pairs_apart() {
        let fingerprint = |(certificate, key): &(String, String)| {
            let pair = Pair::parse(&files(), certificate.as_bytes(), key.as_bytes());
            pair.expect("a pair").fingerprint
        };
        let (one, other) = (pair(1, 31), pair(1, 31));
        assert_eq!(fingerprint(&one), fingerprint(&one));
        assert_ne!(fingerprint(&one), fingerprint(&other));
    }
}
