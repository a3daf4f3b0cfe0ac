//! From when to when a certificate is valid.

use yasna::{
    ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, Tag,
    tags::{TAG_GENERALIZEDTIME, TAG_UTCTIME},
};

/// The times between which a certificate is valid.
#[derive(Debug, Clone)]
pub(super) struct Validity {
    pub(super) from: Moment,
    pub(super) to: Moment,
}

/// A time as a certificate has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// Since the Unix epoch.
    pub(super) seconds: i64,
    /// Its date in UTC.
    pub(super) date: String,
}

impl Validity {
    /// Reads it out of a certificate: RFC 5280, section 4.1.
    pub(super) fn of(certificate: &[u8]) -> ASN1Result<Self> {
        yasna::parse_der(certificate, |reader| {
            reader.read_sequence(|certificate| {
                let validity = certificate.next().read_sequence(|signed| {
                    // Version, serial number, algorithm, issuer; then subject, key and extensions.
                    signed
                        .read_optional(|version| version.read_tagged(Tag::context(0), skipped))?;
                    for _ in 0..3 {
                        signed.next().read_der()?;
                    }
                    let validity = signed.next().read_sequence(|validity| {
                        Ok(Self { from: moment(validity.next())?, to: moment(validity.next())? })
                    })?;
                    for _ in 0..2 {
                        signed.next().read_der()?;
                    }
                    while signed.read_optional(skipped)?.is_some() {}
                    Ok(validity)
                })?;
                for _ in 0..2 {
                    certificate.next().read_der()?;
                }
                Ok(validity)
            })
        })
    }
}

/// What is not looked at.
fn skipped(field: BERReader<'_, '_>) -> ASN1Result<Vec<u8>> {
    field.read_der()
}

fn moment(reader: BERReader<'_, '_>) -> ASN1Result<Moment> {
    let time = match reader.lookahead_tag()? {
        TAG_UTCTIME => *reader.read_utctime()?.datetime(),
        TAG_GENERALIZEDTIME => *reader.read_generalized_time()?.datetime(),
        _ => return Err(ASN1Error::new(ASN1ErrorKind::Invalid)),
    };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let date = format!("{year:04}-{month:02}-{day:02}");
    Ok(Moment { seconds: time.unix_timestamp(), date })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, 2, 3), date_time_ymd(2051, 1, 1));
        let certificate = params.self_signed(&KeyPair::generate().expect("a key"));
        let validity = Validity::of(certificate.expect("a certificate").der()).expect("it is one");
        let moment = |seconds, date: &str| Moment { seconds, date: date.to_owned() };
        assert_eq!(validity.from, moment(1_770_076_800, "2026-02-03"));
        assert_eq!(validity.to, moment(2_556_144_000, "2051-01-01"));
    }

    proptest! {
        #[test]
        fn what_is_no_certificate_is_an_error(bytes: Vec<u8>) {
            prop_assert!(Validity::of(&bytes).is_err());
        }
    }
}
