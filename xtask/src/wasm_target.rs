//! The target that plugins are built for, which a fresh machine does not have.
//!
//! First `rustup target add`. Where that does not answer, the standard library is built from its sources,
//! which Debian packages for each compiler it ships: the package is fetched under a folder of our own and
//! unpacked where the compiler looks for sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::command::{output, run, target};

/// The target's name.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// How the target comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WasmTarget {
    /// Its standard library is installed.
    Installed,
    /// Its standard library is built from sources along with each build.
    FromSource,
}

impl WasmTarget {
    /// Makes sure that plugins can be built, and says in one line what it did for that.
    pub(crate) fn ensure() -> anyhow::Result<Self> {
        let sysroot = sysroot()?;
        if sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
            return Ok(Self::Installed);
        }
        let added = run(Command::new("rustup").args(["target", "add", TARGET]));
        if added.is_ok() {
            eprintln!("xtask: installed the target {TARGET} with rustup");
            return Ok(Self::Installed);
        }
        let sources = sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml");
        if !sources.is_file() {
            install_sources(&sysroot).with_context(|| {
                format!(
                    "the target {TARGET} is missing, `rustup target add {TARGET}` failed, and so did \
                     fetching the standard library's sources; install either by hand"
                )
            })?;
        }
        eprintln!("xtask: building the standard library for {TARGET} from its sources");
        Ok(Self::FromSource)
    }

    /// Adds to a cargo command what the target needs.
    pub(crate) fn apply(self, command: &mut Command) {
        if self == Self::FromSource {
            command.env("RUSTC_BOOTSTRAP", "1").args(["-Z", "build-std=std,panic_abort"]);
        }
    }
}

fn sysroot() -> anyhow::Result<PathBuf> {
    let path = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(path.trim()))
}

/// Fetches Debian's `rust-src` of the compiler's version and unpacks it below the sysroot.
fn install_sources(sysroot: &Path) -> anyhow::Result<()> {
    let version = output(Command::new("rustc").arg("--version"))?;
    let version = version.split_whitespace().nth(1).context("rustc names no version")?.to_owned();
    let apt = target().join("apt");
    for folder in ["lists/partial", "cache/archives/partial", "unpacked"] {
        fs::create_dir_all(apt.join(folder))?;
    }
    let site = output(Command::new("apt-get").args(["indextargets", "--format", "$(SITE)"]))?;
    let site = site.lines().find(|line| line.ends_with("/debian") || line.ends_with("/debian/"));
    let site = site.context("apt-get names no Debian mirror")?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let list = format!("deb [signed-by={keyring}] {site} trixie-backports main\n");
    fs::write(apt.join("sources.list"), list)?;
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        let folder = apt.display();
        command.current_dir(apt.join("unpacked"));
        for option in [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
        ] {
            command.arg("-o").arg(option);
        }
        run(command.args(arguments))
    };
    apt_get(&["update"])?;
    let policy = format!("rust-src={version}*");
    apt_get(&["download", &policy])?;
    let package = fs::read_dir(apt.join("unpacked"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let Some(package) = package else {
        bail!("no package was downloaded");
    };
    let unpacked = apt.join("unpacked/root");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked))?;
    let library = find_library(&unpacked.join("usr")).context("the package holds no sources")?;
    let place = sysroot.join("lib/rustlib/src/rust");
    fs::create_dir_all(&place)?;
    run(Command::new("cp").arg("-r").arg(library).arg(&place))
}

/// The folder `library` of the sources, wherever the package has it.
fn find_library(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("library");
    if library.join("std/Cargo.toml").is_file() {
        return Some(library);
    }
    let entries = fs::read_dir(folder).ok()?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    folders.filter(|path| !path.is_symlink()).find_map(|path| find_library(&path))
}
