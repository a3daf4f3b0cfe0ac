//! The target that plugins are built for, wherever it is to be had.
//!
//! Where rustup does not answer, the standard library is built from its sources, which Debian packages for
//! each compiler it ships: the package is fetched under a folder of our own and unpacked where the compiler
//! looks for sources. From then on `waypost plugin build` finds them there as well.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use waypost_toolchain::{WasmTarget, WasmTargetError, sources};

use crate::command::{output, root, run, target};

/// Makes sure that plugins can be built, and says in one line each what it does for that.
pub(crate) fn ensure() -> anyhow::Result<WasmTarget> {
    let ensured = WasmTarget::ensure(&root(), tell);
    let Err(missing @ WasmTargetError::Missing { sysroot }) = &ensured else {
        return Ok(ensured?);
    };
    tell("fetching the standard library's sources from Debian");
    install_sources(sysroot).with_context(|| format!("{missing}; nor were its sources fetched"))?;
    Ok(WasmTarget::FromSource)
}

fn tell(line: &str) {
    eprintln!("xtask: {line}");
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
    let place = sources(sysroot);
    fs::create_dir_all(&place)?;
    run(Command::new("cp").arg("-r").arg(library.join(".")).arg(&place))
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
