//! Where a router is, as its state folder tells.

use std::{fs, io, path::PathBuf};

use anyhow::Context as _;

use crate::server::{ENDPOINTS_FILE, Endpoints};

/// Which router on this machine.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StateOptions {
    /// The state folder of the router, which says where it listens, by what to know it, and holds the admin
    /// token.
    #[arg(long, value_name = "FOLDER", env = "WAYPOST_STATE", default_value = ".waypost")]
    state: PathBuf,
}

impl StateOptions {
    /// A file of the folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// What a router that runs with the folder wrote down; nothing if none does.
    pub(super) fn endpoints(&self) -> anyhow::Result<Option<Endpoints>> {
        let file = self.file(ENDPOINTS_FILE);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let endpoints = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what a router writes", file.display()))?;
        Ok(Some(endpoints))
    }

    /// Says that no router runs with the folder, and how that is known.
    pub(super) fn no_router(&self) -> String {
        let (folder, file) = (self.state.display(), self.file(ENDPOINTS_FILE));
        format!("no router runs with the state folder {folder}: there is no {}", file.display())
    }
}

#[cfg(test)]
impl StateOptions {
    /// A folder as if it were named.
    pub(super) fn of(folder: &std::path::Path) -> Self {
        Self { state: folder.to_owned() }
    }
}
