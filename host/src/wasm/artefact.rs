//! An artefact: a plugin's file, as a component with its digest.

use std::{fmt, panic, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload, Validator};
use wit_component::ComponentEncoder;

use super::{
    Interfaces, PluginError, bindings::PluginPre, imports::Guest, manifest::quoted,
    sandbox::offered,
};

/// SHA-256 of an artefact's bytes: what a version is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a file's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 digits of 0-9 a-f")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut digest = [0; 32];
        if text.len() != 64 {
            return Err(DigestError);
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| DigestError)?;
            let is_lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if !pair.bytes().all(is_lower) {
                return Err(DigestError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| DigestError)?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A compiled artefact whose imports are linked.
#[derive(Clone)]
pub struct Artefact {
    pub(super) digest: Digest,
    pub(super) linked: PluginPre<Guest>,
    /// The interfaces of the contract that it imports.
    pub(super) imports: Interfaces,
}

impl Artefact {
    /// What it is known by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for Artefact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Artefact").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// The component in a file: the file itself, or what its core module becomes by the metadata that it
/// carries.
pub(super) fn componentise(bytes: &[u8]) -> Result<Vec<u8>, PluginError> {
    let is_component = Parser::is_component(bytes);
    if !is_component && !Parser::is_core_wasm(bytes) {
        return Err(PluginError::NotWasm);
    }
    // A file that is cut off is refused here; what follows trusts the bytes that it gets.
    Validator::new()
        .validate_all(bytes)
        .map_err(|error| PluginError::Invalid(error.to_string()))?;
    if is_component {
        return Ok(bytes.to_vec());
    }
    let encode = || {
        let encoder = ComponentEncoder::default().validate(true).module(bytes);
        encoder.and_then(|mut encoder| encoder.encode())
    };
    // The metadata is not part of what was validated, and broken metadata may make the encoder panic.
    panic::catch_unwind(encode)
        .map_err(|_| PluginError::NotComponent("its metadata is broken".to_owned()))?
        .map_err(|error| match unknown_import(bytes) {
            Some(import) => PluginError::UnknownImport(import),
            None => PluginError::NotComponent(format!("{error:#}")),
        })
}

/// The first function, memory or whatever it is that a core module imports from elsewhere than the contract.
fn unknown_import(module: &[u8]) -> Option<String> {
    let sections = Parser::new(0).parse_all(module).filter_map(Result::ok);
    let imports = sections.filter_map(|section| match section {
        Payload::ImportSection(imports) => Some(imports.into_imports()),
        _ => None,
    });
    let unknown =
        imports.flatten().filter_map(Result::ok).find(|each| offered(each.module).is_err());
    unknown.map(|each| format!("{} of {}", quoted(each.name), quoted(each.module)))
}
