//! Signs as `minisign -S` does, with keys that are made when a test runs.
//!
//! The crate that signs by itself brings a password hash whose features would have the whole sandbox built
//! twice, once for tests; the form is four lines of text. <https://jedisct1.github.io/minisign/> has it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair as _},
};

const KEY_ID_BYTES: usize = 8;

/// A pair of keys.
#[derive(Debug)]
pub struct Signer {
    id: [u8; KEY_ID_BYTES],
    pair: Ed25519KeyPair,
}

impl Signer {
    /// A new pair.
    ///
    /// # Panics
    ///
    /// The system has no randomness.
    #[must_use]
    pub fn generate() -> Self {
        let (random, mut id) = (SystemRandom::new(), [0; KEY_ID_BYTES]);
        random.fill(&mut id).expect("the system has randomness");
        let pair = Ed25519KeyPair::generate_pkcs8(&random).expect("the system has randomness");
        let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).expect("it was made just now");
        Self { id, pair }
    }

    /// The public key, as a configuration names it.
    #[must_use]
    pub fn public_key(&self) -> String {
        BASE64_STANDARD.encode([b"Ed", &self.id[..], self.pair.public_key().as_ref()].concat())
    }

    /// The text of an artefact's signature.
    #[must_use]
    pub fn sign(&self, artefact: &[u8]) -> String {
        self.signature(b"ED", blake2b_simd::blake2b(artefact).as_bytes())
    }

    /// The same in minisign's legacy form, over the bytes and not their hash.
    #[must_use]
    pub fn sign_legacy(&self, artefact: &[u8]) -> String {
        self.signature(b"Ed", artefact)
    }

    fn signature(&self, algorithm: &[u8; 2], signed: &[u8]) -> String {
        let signature = self.pair.sign(signed);
        let comment = "made by a test";
        let both = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        let line = BASE64_STANDARD.encode([algorithm, &self.id[..], signature.as_ref()].concat());
        let both = BASE64_STANDARD.encode(both);
        format!("untrusted comment: none\n{line}\ntrusted comment: {comment}\n{both}\n")
    }
}

#[cfg(test)]
mod tests {
    use minisign_verify::{PublicKey, Signature};

    use super::*;

    #[test]
    fn what_it_signs_is_what_minisign_verifies() {
        let signer = Signer::generate();
        let key = PublicKey::from_base64(&signer.public_key()).expect("a public key");
        for (text, allow_legacy) in
            [(signer.sign(b"one"), false), (signer.sign_legacy(b"one"), true)]
        {
            let signature = Signature::decode(&text).expect("a signature");
            key.verify(b"one", &signature, allow_legacy).expect("it is of these bytes");
            assert!(key.verify(b"two", &signature, allow_legacy).is_err());
        }
    }
}
