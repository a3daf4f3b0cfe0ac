//! Where the built command and the built plugins are.

use std::path::PathBuf;

/// Cargo's target folder, which holds the executable that runs now.
fn target() -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    let is_target = |folder: &&std::path::Path| folder.join("CACHEDIR.TAG").is_file();
    let found = executable.ancestors().find(is_target);
    found.map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")),
        PathBuf::from,
    )
}

/// A file below the target folder, which `cargo xtask test` builds beforehand.
///
/// # Panics
///
/// It is not there.
#[must_use]
pub fn built(file: &str) -> PathBuf {
    let path = target().join(file);
    assert!(path.is_file(), "{} is missing: run `cargo xtask test`", path.display());
    path
}

/// A plugin of `plugins/`.
///
/// # Panics
///
/// It is not built.
#[must_use]
pub fn built_plugin(name: &str) -> PathBuf {
    built(&format!("plugins/{name}.wasm"))
}

/// A guest of `tests/guests/`.
///
/// # Panics
///
/// It is not built.
#[must_use]
pub fn built_guest(name: &str) -> PathBuf {
    built(&format!("guests/{name}.wasm"))
}

/// Another build of an artefact: the same code under another digest, because of a custom section that
/// nobody reads.
#[must_use]
pub fn another_build(artefact: &[u8], number: u32) -> Vec<u8> {
    const NAME: &[u8] = b"build";
    let mut bytes = artefact.to_vec();
    // Section 0, the length of the rest, the name with its length, the content.
    bytes.extend([0, 10, 5]);
    bytes.extend(NAME);
    bytes.extend(number.to_le_bytes());
    bytes
}
