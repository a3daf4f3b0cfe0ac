//! The machine and the programs that were compared.

use std::{path::Path, process::Command};

use anyhow::Context as _;
use serde::Serialize;

use super::peers;

/// What the figures hold for.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Setting {
    pub(super) processor: String,
    pub(super) processors: usize,
    pub(super) memory_bytes: Option<u64>,
    pub(super) kernel: String,
    pub(super) router: String,
    /// The largest socket buffer that the system grants, in bytes.
    pub(super) socket_buffer_bytes: Option<u64>,
    pub(super) nats_server: Option<String>,
    /// What routers and brokers keep their streams in: the kind of file system, and where. One in memory syncs nothing.
    pub(super) files: Option<String>,
}

impl Setting {
    /// Asks the system and the programs.
    pub(super) fn find(router: &Path) -> anyhow::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            processors,
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal").and_then(kibibytes),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            router: said(Command::new(router).arg("--version")).with_context(|| {
                format!("{} is no waypost command; name it with --router", router.display())
            })?,
            socket_buffer_bytes: read("/proc/sys/net/core/rmem_max").trim().parse().ok(),
            files: file_system(&read("/proc/mounts"), &std::env::temp_dir()),
            nats_server: said(Command::new(peers::NATS_SERVER).arg("--version")),
        })
    }
}

/// What a program prints, if there is one and it ends well.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A file of the system; what it does not tell is left out of the report.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The kind of the file system that a folder is on, by the mount with the longest path to it (fstab(5)).
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let (_, kind) = mounts
        .filter(|(place, _)| folder.starts_with(place))
        .max_by_key(|(place, _)| place.components().count())?;
    Some(format!("{kind} at {}", folder.display()))
}

fn kibibytes(value: String) -> Option<u64> {
    value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_on_the_nearest_mount() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n";
        let check = |folder: &str, expected: &str| {
            let found = file_system(mounts, Path::new(folder));
            assert_eq!(found, Some(format!("{expected} at {folder}")));
        };
        check("/var/tmp", "ext4");
        check("/tmp", "tmpfs");
        check("/tmp/disk/bench", "xfs");
        check("/tmpfiles", "ext4");
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 25\nmodel name\t: A Processor\nMemTotal:  12 kB\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A Processor"));
        assert_eq!(field(text, "MemTotal").and_then(kibibytes), Some(12 * 1024));
        assert_eq!(field(text, "name"), None);
    }
}
