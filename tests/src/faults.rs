//! What goes wrong beneath a router: the library of `tests/shim` is loaded into its process, and acts on its storage.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, ensure};

/// The library, and what it is to do from the next start of the router on.
#[derive(Debug, Clone)]
pub struct Faults {
    library: PathBuf,
    fault: Option<String>,
    has_disk: bool,
}

impl Faults {
    /// The library does nothing yet.
    #[must_use]
    pub fn new(library: PathBuf) -> Self {
        Self { library, fault: None, has_disk: false }
    }

    /// With a disk that loses what was not synced when the power is cut.
    #[must_use]
    pub fn with_disk(mut self) -> Self {
        self.has_disk = true;
        self
    }

    /// What fails, such as `eio:sync:3`, the third sync.
    pub fn fail(&mut self, fault: Option<String>) {
        self.fault = fault;
    }

    /// Makes the disk of a router that has stored nothing, and a clock that is right.
    pub(crate) fn prepare(&self, folder: &Path) -> anyhow::Result<()> {
        self.set_clock(folder, 0)?;
        if self.has_disk { keep(&storage(folder), &disk(folder)) } else { Ok(()) }
    }

    /// Sets the clock of the router's process so many seconds off.
    pub(crate) fn set_clock(&self, folder: &Path, seconds: i64) -> anyhow::Result<()> {
        let file = clock(folder);
        // In one write of always the same length, as it is read meanwhile.
        Ok(fs::write(file, format!("{seconds:>20}"))?)
    }

    /// Gives storage back as the disk has it.
    pub(crate) fn cut_power(&self, folder: &Path) -> anyhow::Result<()> {
        ensure!(self.has_disk, "the router has no disk of its own");
        let (storage, disk) = (storage(folder), disk(folder));
        if storage.exists() {
            fs::remove_dir_all(&storage)?;
        }
        copy(&disk.join("tree"), &storage)?;
        fs::remove_dir_all(&disk)?;
        keep(&storage, &disk)
    }

    pub(crate) fn apply(&self, command: &mut tokio::process::Command, folder: &Path) {
        command.env("LD_PRELOAD", &self.library);
        command.env("WAYPOST_FAULT_FOLDER", storage(folder));
        command.env("WAYPOST_FAULT_CLOCK", clock(folder));
        if let Some(fault) = &self.fault {
            command.env("WAYPOST_FAULT", fault);
        }
        if self.has_disk {
            command.env("WAYPOST_FAULT_DISK", disk(folder));
        }
    }
}

fn storage(folder: &Path) -> PathBuf {
    folder.join("state/storage")
}

fn disk(folder: &Path) -> PathBuf {
    folder.join("disk")
}

fn clock(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// Makes a disk on which everything is that is in the folder: see `tests/shim/src/disk.rs`.
fn keep(storage: &Path, disk: &Path) -> anyhow::Result<()> {
    let tree = disk.join("tree");
    fs::create_dir_all(disk.join("data"))?;
    fs::create_dir_all(&tree)?;
    let mut folders = Vec::new();
    if storage.exists() {
        folders.push((storage.to_owned(), tree));
    }
    while let Some((from, to)) = folders.pop() {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (metadata, there) = (entry.metadata()?, to.join(entry.file_name()));
            if metadata.is_dir() {
                fs::create_dir(&there)?;
                folders.push((entry.path(), there));
                continue;
            }
            let made =
                metadata.created().context("the file system does not tell when files were made")?;
            let made = made.duration_since(UNIX_EPOCH)?;
            let identity =
                format!("{}-{}.{:09}", metadata.ino(), made.as_secs(), made.subsec_nanos());
            let data = disk.join("data").join(identity);
            copy(&entry.path(), &data)?;
            fs::hard_link(data, there)?;
        }
    }
    Ok(())
}

/// Copies a file, or a folder with all that is in it, without writing out what was never written.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("cp");
    command.args(["--recursive", "--sparse=always", "--no-target-directory"]).args([from, to]);
    let status = command.stdin(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
