//! The target that plugins are built for, which a fresh machine does not have.
//!
//! First what is installed, then what rustup installs. Where neither is to be had, but the standard
//! library's sources are, it is built from them along with each build.
#![forbid(unsafe_code)]

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The target's name.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// How the target's standard library comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmTarget {
    /// It is installed.
    Installed,
    /// It is built from sources along with each build.
    FromSource,
}

/// Why nothing can be built for the target.
#[derive(Debug, thiserror::Error)]
pub enum WasmTargetError {
    /// There is no compiler.
    #[error("rustc does not say where its libraries are: {0}; install Rust from https://rustup.rs")]
    NoCompiler(io::Error),
    /// Neither the target nor its sources are there.
    #[error(
        "the target {TARGET} is missing and rustup did not add it; install it with `rustup target add {TARGET}`, or \
         as the package that your system has for it"
    )]
    Missing {
        /// Where the compiler's libraries are.
        sysroot: PathBuf,
    },
}

impl WasmTarget {
    /// Makes sure that the compiler of the crate in this folder can build for the target. What has to be done
    /// for that is told in one line before it is done.
    ///
    /// # Errors
    ///
    /// It cannot.
    pub fn ensure(folder: &Path, tell: impl Fn(&str)) -> Result<Self, WasmTargetError> {
        let sysroot = sysroot(folder).map_err(WasmTargetError::NoCompiler)?;
        if let Some(Self::Installed) = Self::of(&sysroot) {
            return Ok(Self::Installed);
        }
        tell(&format!("the target {TARGET} is missing: running `rustup target add {TARGET}`"));
        if rustup_adds(folder) {
            return Ok(Self::Installed);
        }
        match Self::of(&sysroot) {
            Some(found) => {
                tell(&format!("building the standard library for {TARGET} from its sources"));
                Ok(found)
            }
            None => Err(WasmTargetError::Missing { sysroot }),
        }
    }

    /// What the compiler with these libraries has.
    fn of(sysroot: &Path) -> Option<Self> {
        if sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
            return Some(Self::Installed);
        }
        sources(sysroot).join("std/Cargo.toml").is_file().then_some(Self::FromSource)
    }

    /// Adds to a `cargo build` what the target needs.
    pub fn apply(self, command: &mut Command) {
        command.args(["--target", TARGET]);
        if self == Self::FromSource {
            // A stable compiler takes the option with this.
            command.env("RUSTC_BOOTSTRAP", "1").args(["-Z", "build-std=std,panic_abort"]);
        }
    }
}

/// Where the compiler with these libraries looks for the standard library's sources.
#[must_use]
pub fn sources(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library")
}

fn sysroot(folder: &Path) -> io::Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    let output =
        rustc.current_dir(folder).args(["--print", "sysroot"]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// What rustup says goes to standard error.
fn rustup_adds(folder: &Path) -> bool {
    let mut rustup = Command::new("rustup");
    rustup.current_dir(folder).args(["target", "add", TARGET]).stdin(Stdio::null());
    rustup.stdout(io::stderr()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_installed_goes_before_sources() {
        let sysroot = tempfile::tempdir().expect("a folder");
        assert_eq!(WasmTarget::of(sysroot.path()), None);
        let std = sources(sysroot.path()).join("std");
        fs::create_dir_all(&std).expect("the folder takes a folder");
        fs::write(std.join("Cargo.toml"), "").expect("the folder takes a file");
        assert_eq!(WasmTarget::of(sysroot.path()), Some(WasmTarget::FromSource));
        let installed = sysroot.path().join("lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(installed).expect("the folder takes a folder");
        assert_eq!(WasmTarget::of(sysroot.path()), Some(WasmTarget::Installed));
    }

    #[test]
    fn from_sources_a_build_has_more_arguments() {
        let arguments = |target: WasmTarget| {
            let mut command = Command::new("cargo");
            target.apply(&mut command);
            command.get_args().count()
        };
        assert_eq!(arguments(WasmTarget::Installed), 2);
        assert_eq!(arguments(WasmTarget::FromSource), 4);
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_compiler() {
        let ensured = WasmTarget::ensure(Path::new("/nowhere/at/all"), |_| ());
        assert!(matches!(ensured, Err(WasmTargetError::NoCompiler(_))), "{ensured:?}");
    }
}
