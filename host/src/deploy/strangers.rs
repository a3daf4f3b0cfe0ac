//! Artefacts in the plugin folder that no stage uses: most often one under a wrong name.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use waypost_core::PluginName;

use super::Deployer;

/// Those that are there and were told of.
pub(super) type Strangers = BTreeSet<PathBuf>;

impl Deployer {
    /// Passes over the strangers that are there from the beginning: a folder may hold more than one configuration
    /// uses.
    pub(super) fn know_strangers(&self) {
        let strangers = self.find_strangers().unwrap_or_default();
        *self.strangers.lock().unwrap_or_else(PoisonError::into_inner) = strangers;
    }

    /// Tells of each stranger that has come.
    pub(super) fn tell_strangers(&self) {
        let plugins = self.plugins();
        let plugins: Vec<&str> = plugins.keys().map(PluginName::as_str).collect();
        for file in self.new_strangers() {
            tracing::warn!(
                file = %file.display(), used = plugins.join(", "),
                "no stage uses this artefact; name the file as the plugin of a stage, or the plugin in a stage"
            );
        }
    }

    pub(super) fn new_strangers(&self) -> Vec<PathBuf> {
        // A folder that is not there now is looked at again after the next change.
        let Ok(found) = self.find_strangers() else { return Vec::new() };
        let mut told = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = found.difference(&told).cloned().collect();
        *told = found;
        new
    }

    fn find_strangers(&self) -> io::Result<Strangers> {
        let plugins = self.plugins();
        let is_used = |file: &Path| plugins.values().any(|plugin| plugin.file == file);
        let mut strangers = artefacts(&self.folder)?;
        strangers.retain(|file| !is_used(file));
        Ok(strangers)
    }
}

fn artefacts(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_artefact =
        |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
    Ok(files.filter(is_artefact).collect())
}
