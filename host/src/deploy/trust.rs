//! Whose artefacts run: the keys that sign them, and the digest that one of them is pinned to.

use std::{fmt, path::Path, str::FromStr, sync::Arc};

use minisign_verify::{Error as MinisignError, PublicKey, Signature};
use waypost_core::PluginName;

use crate::wasm::{Digest, PluginPolicy};

/// What the file of a signature is called: its artefact's name and this.
pub(super) const SIGNATURE_SUFFIX: &str = ".minisig";
/// A signature is a few lines.
pub const MAX_SIGNATURE_BYTES: usize = 8 << 10;

/// What the configuration says of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginRules {
    /// What it may import and take.
    pub policy: PluginPolicy,
    /// Which artefacts it may be.
    pub trust: Trust,
}

/// Which artefacts a plugin may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// One of these must have signed it; where there is none, nobody needs to.
    pub keys: Arc<[TrustedKey]>,
    /// It is the artefact with this digest and no other.
    pub pin: Option<Digest>,
}

/// A public key of minisign, as the one line of text that its file holds below the comment.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey {
    text: String,
    key: PublicKey,
}

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no public key of minisign; write the line of minisign.pub that begins with RW")]
pub struct TrustedKeyError;

impl FromStr for TrustedKey {
    type Err = TrustedKeyError;

    fn from_str(text: &str) -> Result<Self, TrustedKeyError> {
        let key = PublicKey::from_base64(text).map_err(|_| TrustedKeyError)?;
        Ok(Self { text: text.to_owned(), key })
    }
}

impl fmt::Display for TrustedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Why an artefact is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It is another one than the configuration pins.
    #[error(
        "its digest is {digest}, but plugins.override.{plugin}.digest pins {pin}; deploy the pinned artefact, or pin this one"
    )]
    Pinned {
        /// The plugin.
        plugin: PluginName,
        /// The digest that it may have.
        pin: Digest,
        /// The digest that it has.
        digest: Digest,
    },
    /// It has no signature.
    #[error(
        "it has no signature, and plugins.trusted_keys asks for one; sign it with minisign -S, and put {place}"
    )]
    Unsigned {
        /// Where the signature was missed.
        place: String,
    },
    /// Its signature is none.
    #[error("its signature is none of minisign's; sign it anew with minisign -S")]
    Malformed,
    /// Its signature is of the old form, over all bytes and not their hash.
    #[error("its signature is of minisign's legacy form; sign it anew with minisign -S -H")]
    Legacy,
    /// Somebody else signed it.
    #[error(
        "it is signed with a key that plugins.trusted_keys does not name; sign it with one of those, or add the public key of this one"
    )]
    UnknownKey,
    /// The signature is of other bytes.
    #[error("its signature does not match its bytes; sign it anew, or fetch both anew")]
    Mismatch,
}

impl TrustError {
    /// Its kind, for counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pinned { .. } => "pin",
            _ => "signature",
        }
    }
}

impl Trust {
    /// Whether the pin lets this digest be.
    #[must_use]
    pub fn allows(&self, digest: Digest) -> bool {
        self.pin.is_none_or(|pin| pin == digest)
    }

    /// Holds an artefact against the pin and the keys; `place` says where a signature would be found.
    ///
    /// # Errors
    ///
    /// Another digest than is pinned, or no valid signature by a trusted key.
    pub fn check(
        &self,
        plugin: &PluginName,
        bytes: &[u8],
        signature: Option<&str>,
        place: impl FnOnce() -> String,
    ) -> Result<(), TrustError> {
        if let Some(pin) = self.pin {
            let digest = Digest::of(bytes);
            if digest != pin {
                return Err(TrustError::Pinned { plugin: plugin.clone(), pin, digest });
            }
        }
        if self.keys.is_empty() {
            return Ok(());
        }
        let signature = signature.ok_or_else(|| TrustError::Unsigned { place: place() })?;
        let signature = Signature::decode(signature).map_err(|_| TrustError::Malformed)?;
        let verified = self.keys.iter().map(|known| known.key.verify(bytes, &signature, false));
        // Every key but the one that signed says that it did not; what that one says counts.
        let mut answers = verified.filter(|answer| !is_by_another_key(answer));
        match answers.next() {
            Some(Ok(())) => Ok(()),
            Some(Err(MinisignError::UnexpectedAlgorithm)) => Err(TrustError::Legacy),
            Some(Err(_)) => Err(TrustError::Mismatch),
            None => Err(TrustError::UnknownKey),
        }
    }
}

fn is_by_another_key(answer: &Result<(), MinisignError>) -> bool {
    matches!(answer, Err(MinisignError::UnexpectedKeyId))
}

/// The text of a signature's file; none where there is no file. What is no text, or too long, is a
/// signature that no key has made.
pub(super) fn read_signature(file: &Path) -> std::io::Result<Option<String>> {
    use std::io::Read as _;
    let open = match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        open => open?,
    };
    let mut bytes = Vec::new();
    open.take(MAX_SIGNATURE_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use waypost_artefacts::Signer;

    use super::*;

    fn trusting(signers: &[&Signer]) -> Trust {
        let key = |signer: &&Signer| signer.public_key().parse().expect("a public key");
        Trust { keys: signers.iter().map(key).collect(), pin: None }
    }
    fn check(trust: &Trust, bytes: &[u8], signature: Option<&str>) -> Result<(), TrustError> {
        let plugin = PluginName::parse("keep").expect("a name");
        trust.check(&plugin, bytes, signature, || "it there".to_owned())
    }

    #[test]
    fn without_keys_and_pins_anything_is_trusted() {
        assert_eq!(check(&Trust::default(), b"any", None), Ok(()));
        assert_eq!(check(&Trust::default(), b"any", Some("no signature")), Ok(()));
    }

    #[test]
    fn only_what_a_trusted_key_signed_is_trusted() {
        let (ours, new, theirs) = (Signer::generate(), Signer::generate(), Signer::generate());
        let trust = trusting(&[&ours, &new]);
        assert_eq!(check(&trust, b"one", Some(&ours.sign(b"one"))), Ok(()));
        assert_eq!(check(&trust, b"one", Some(&new.sign(b"one"))), Ok(()));
        let by_another = Some(theirs.sign(b"one"));
        assert_eq!(check(&trust, b"one", by_another.as_deref()), Err(TrustError::UnknownKey));
        let of_another = Some(ours.sign(b"two"));
        assert_eq!(check(&trust, b"one", of_another.as_deref()), Err(TrustError::Mismatch));
        let unsigned = TrustError::Unsigned { place: "it there".into() };
        assert_eq!(check(&trust, b"one", None), Err(unsigned));
        let legacy = Some(ours.sign_legacy(b"one"));
        assert_eq!(check(&trust, b"one", legacy.as_deref()), Err(TrustError::Legacy));
    }

    #[test]
    fn a_signature_that_was_tampered_with_or_cut_is_none() {
        let ours = Signer::generate();
        let trust = trusting(&[&ours]);
        let whole = ours.sign(b"one");
        for length in (0..whole.trim_end().len()).filter(|at| whole.is_char_boundary(*at)) {
            assert!(check(&trust, b"one", Some(&whole[..length])).is_err(), "{length} bytes");
        }
        let comment = whole.replace("trusted comment: ", "trusted comment: !");
        assert_eq!(check(&trust, b"one", Some(&comment)), Err(TrustError::Mismatch));
        assert_eq!(check(&trust, b"one", Some("four\n\n\n\n")), Err(TrustError::Malformed));
    }

    #[test]
    fn a_pin_holds_whoever_signed() {
        let ours = Signer::generate();
        let trust = Trust { pin: Some(Digest::of(b"one")), ..trusting(&[&ours]) };
        assert_eq!(check(&trust, b"one", Some(&ours.sign(b"one"))), Ok(()));
        let error = check(&trust, b"two", Some(&ours.sign(b"two"))).expect_err("it is another");
        assert!(error.to_string().contains("plugins.override.keep.digest pins"), "{error}");
        assert!(matches!(check(&trust, b"one", None), Err(TrustError::Unsigned { .. })));
    }

    #[test]
    fn a_text_that_is_no_public_key_is_refused() {
        for text in ["", "RW", "RWQ", "x".repeat(56).as_str()] {
            assert_eq!(text.parse::<TrustedKey>(), Err(TrustedKeyError), "{text}");
        }
        let text = Signer::generate().public_key();
        assert_eq!(text.parse::<TrustedKey>().expect("a public key").to_string(), text);
    }
}
