//! The artefacts that ran, kept by digest in the state folder, and the record of which one runs.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use waypost_core::PluginName;

use super::{History, prepare::beside, trust::read_signature};
use crate::wasm::Digest;

/// The record, beside the artefacts.
const RECORD_FILE: &str = "deployed.json";

/// What keeps versions from being kept or found again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error("{path}: {source}; make room for it, or set router.state_folder to a folder that can be written", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The record is not what a router wrote.
    #[error("{path} is no record of deployed plugins: {source}; restore it, or remove it to run what is in the plugin folder", path = path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A kept artefact holds other bytes than it did.
    #[error("{path} is damaged: its bytes are not those of its name; restore it, or remove {RECORD_FILE} beside it to run what is in the plugin folder", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
}

/// All plugins' histories by name.
pub(super) type Histories = BTreeMap<PluginName, History>;

/// A folder of artefacts and their record.
#[derive(Debug, Clone)]
pub struct VersionStore {
    folder: PathBuf,
    /// How many versions of a plugin are kept.
    keep: Arc<AtomicUsize>,
}

impl VersionStore {
    /// Opens a folder, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn open(folder: PathBuf, keep: usize) -> Result<Self, StoreError> {
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        Ok(Self { folder, keep: Arc::new(AtomicUsize::new(keep)) })
    }

    /// How many versions of a plugin are kept.
    pub(super) fn keep(&self) -> usize {
        self.keep.load(Ordering::Relaxed)
    }

    /// Keeps so many versions of a plugin from its next deploy on.
    pub(super) fn set_keep(&self, keep: usize) {
        self.keep.store(keep, Ordering::Relaxed);
    }

    /// What was recorded; nothing on the first start.
    pub(super) fn load(&self) -> Result<Histories, StoreError> {
        let path = self.folder.join(RECORD_FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Histories::new()),
            read => read.map_err(failed(&path))?,
        };
        let record = |source| StoreError::Record { path: path.clone(), source };
        let named: BTreeMap<String, History> = serde_json::from_slice(&bytes).map_err(record)?;
        // A name that is none belongs to no plugin of this router.
        let parsed = |(name, history): (String, _)| Some((PluginName::parse(&name).ok()?, history));
        Ok(named.into_iter().filter_map(parsed).collect())
    }

    /// Records what runs, and forgets the artefacts that no history names.
    pub(super) fn save(&self, histories: &Histories) -> Result<(), StoreError> {
        let path = self.folder.join(RECORD_FILE);
        let named: BTreeMap<&str, &History> =
            histories.iter().map(|(name, history)| (name.as_str(), history)).collect();
        let bytes = serde_json::to_vec_pretty(&named)
            .map_err(|source| StoreError::Record { path: path.clone(), source })?;
        write_whole(&path, &bytes).map_err(failed(&path))?;
        self.prune(histories);
        Ok(())
    }

    /// Keeps an artefact, and its signature if it has one.
    pub(super) fn put(
        &self,
        digest: Digest,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<(), StoreError> {
        if let Some(signature) = signature {
            let path = self.signature_file(digest);
            write_whole(&path, signature.as_bytes()).map_err(failed(&path))?;
        }
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        write_whole(&path, bytes).map_err(failed(&path))
    }

    /// A kept artefact.
    pub(super) fn get(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(failed(&path))?;
        if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(StoreError::Damaged { path }) }
    }

    /// The signature of a kept artefact, if it has one.
    pub(super) fn signature_of(&self, digest: Digest) -> Result<Option<String>, StoreError> {
        let path = self.signature_file(digest);
        read_signature(&path).map_err(failed(&path))
    }

    /// Where the signature of a kept artefact stands.
    pub(super) fn signature_file(&self, digest: Digest) -> PathBuf {
        beside(&self.path(digest))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// What is left behind for once takes room and does no harm.
    fn prune(&self, histories: &Histories) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let digests = histories.values().flat_map(|history| &history.versions);
        let kept: HashSet<PathBuf> = digests
            .flat_map(|known| [self.path(known.digest), self.signature_file(known.digest)])
            .collect();
        let is_ours = |path: &Path| {
            let extension = path.extension().unwrap_or_default();
            extension == "wasm" || extension == "minisig"
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if is_ours(&path) && !kept.contains(&path) {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    |source| StoreError::File { path, source }
}

/// Writes a file in one step that survives a crash: whoever reads finds the old bytes or the new ones.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (VersionStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        (VersionStore::open(folder.path().join("versions"), 3).expect("it is made"), folder)
    }

    #[test]
    fn a_kept_artefact_is_found_again_or_said_to_be_damaged() {
        let (store, _folder) = store();
        let digest = Digest::of(b"one");
        store.put(digest, b"one", None).expect("it is kept");
        assert_eq!(store.get(digest).expect("it is there"), b"one");
        fs::write(store.path(digest), b"onf").expect("it is written");
        assert!(matches!(store.get(digest), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn what_no_history_names_is_forgotten() {
        let (store, _folder) = store();
        let (kept, lost) = (Digest::of(b"kept"), Digest::of(b"lost"));
        store.put(kept, b"kept", Some("signed")).expect("it is kept");
        store.put(lost, b"lost", Some("signed")).expect("it is kept");
        let version = super::super::KeptVersion {
            digest: kept,
            version: "1".into(),
            since_ms: 0,
            via: super::super::Via::Deploy,
            rolled_back: None,
        };
        let history = History::default().accepted(version, 3);
        let histories = Histories::from([(PluginName::parse("p").expect("a name"), history)]);
        store.save(&histories).expect("it is written");
        assert_eq!(store.load().expect("it is read"), histories);
        assert!(store.get(kept).is_ok() && store.get(lost).is_err());
        assert_eq!(store.signature_of(kept).expect("it is read").as_deref(), Some("signed"));
        assert_eq!(store.signature_of(lost).expect("it is gone"), None);
    }

    #[test]
    fn a_record_that_is_none_is_named_and_not_overwritten() {
        let (store, _folder) = store();
        let path = store.folder.join(RECORD_FILE);
        fs::write(&path, "{").expect("it is written");
        let error = store.load().expect_err("it is none").to_string();
        assert!(error.contains("deployed.json is no record"), "{error}");
    }
}
