//! What is known of a plugin's versions: which one runs, which ran before, what the folder held last.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wasm::Digest;

/// How a version came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// Its file was put into the plugin folder.
    Folder,
    /// It was handed in through the admin interface.
    Deploy,
    /// An operator went back to it.
    Rollback,
    /// The router was started with a configuration that pins it.
    Pinned,
    /// The router went back to it because the version after it failed.
    AutomaticRollback,
}

/// A version that ran, or runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptVersion {
    /// SHA-256 of its artefact.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The version in its manifest.
    pub version: String,
    /// Since when it ran last, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How it came to run then.
    pub via: Via,
    /// Why it was rolled back, if it was: a rollback passes over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// A plugin's versions, as the state folder records them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// The artefact that runs.
    pub active: Option<Digest>,
    /// What the folder's file held when it was looked at last: it is deployed when that changes.
    pub observed: Option<Digest>,
    /// In the order in which they came to run for the first time or were handed in again.
    pub versions: Vec<KeptVersion>,
}

/// Why there is nothing to go back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVersion {
    /// The one that runs is the first of those that are kept.
    #[error("there is no version before the one that runs; deploy one that works")]
    NothingBefore,
    /// Those that are kept from before were rolled back themselves.
    #[error(
        "every kept version before the one that runs was rolled back; name one with --to, as waypost plugin list shows \
         them, or deploy one that works"
    )]
    RolledBack,
    /// It runs.
    #[error("the version {0} runs already")]
    Runs(Digest),
    /// No kept version begins with this.
    #[error("no kept version has a digest that begins with {0}; see waypost plugin list")]
    Unknown(String),
    /// Several do.
    #[error("several kept versions have a digest that begins with {0}; write more of it")]
    Ambiguous(String),
}

impl History {
    /// The version runs now. Those that are kept stay within `keep`, the oldest go first.
    #[must_use]
    pub fn accepted(&self, version: KeptVersion, keep: usize) -> Self {
        let mut next = self.clone();
        let is_return = matches!(version.via, Via::Rollback | Via::AutomaticRollback | Via::Pinned);
        let known = next.versions.iter().position(|known| known.digest == version.digest);
        next.active = Some(version.digest);
        match known.and_then(|at| next.versions.get_mut(at)) {
            // Who goes back stays where it was, so that going back once more goes further back.
            Some(known) if is_return => *known = version,
            _ => {
                next.versions.retain(|known| known.digest != version.digest);
                next.versions.push(version);
            }
        }
        while next.versions.len() > keep.max(1) {
            let Some(oldest) =
                next.versions.iter().position(|known| next.active != Some(known.digest))
            else {
                break;
            };
            next.versions.remove(oldest);
        }
        next
    }

    /// The version that runs is not to be gone back to.
    pub fn mark_rolled_back(&mut self, reason: &str) {
        let active = self.active;
        if let Some(known) = self.versions.iter_mut().find(|known| active == Some(known.digest)) {
            known.rolled_back = Some(reason.to_owned());
        }
    }

    /// The version that is meant: the one that runs for `active`, the newest of this version in its manifest, or the
    /// one whose digest begins so.
    ///
    /// # Errors
    ///
    /// There is none, or more than one.
    pub fn named(&self, name: &str) -> Result<Digest, NoVersion> {
        if let Some(active) = self.active.filter(|_| name == "active") {
            return Ok(active);
        }
        match self.versions.iter().rev().find(|known| known.version == name) {
            Some(known) => Ok(known.digest),
            None => self.beginning(name).map(|known| known.digest),
        }
    }

    /// The version to go back to: the one before the one that runs, or the one whose digest begins with
    /// `to`.
    ///
    /// # Errors
    ///
    /// There is none, more than one, or it runs.
    pub fn target(&self, to: Option<&str>) -> Result<Digest, NoVersion> {
        let Some(prefix) = to else {
            let before =
                self.versions.iter().rev().skip_while(|known| self.active != Some(known.digest));
            let (mut before, mut none) = (before.skip(1), NoVersion::NothingBefore);
            let found = before.find(|known| {
                let is_good = known.rolled_back.is_none();
                if !is_good {
                    none = NoVersion::RolledBack;
                }
                is_good
            });
            return found.map(|known| known.digest).ok_or(none);
        };
        match self.beginning(prefix)? {
            known if self.active == Some(known.digest) => Err(NoVersion::Runs(known.digest)),
            known => Ok(known.digest),
        }
    }

    fn beginning(&self, prefix: &str) -> Result<&KeptVersion, NoVersion> {
        let begins = |known: &&KeptVersion| known.digest.to_string().starts_with(prefix);
        let mut found = self.versions.iter().filter(begins);
        match (found.next(), found.next()) {
            (Some(known), None) => Ok(known),
            (None, _) => Err(NoVersion::Unknown(prefix.to_owned())),
            (Some(_), Some(_)) => Err(NoVersion::Ambiguous(prefix.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u8, via: Via) -> KeptVersion {
        let digest = Digest([number; 32]);
        let version = number.to_string();
        KeptVersion { digest, version, since_ms: 0, via, rolled_back: None }
    }

    fn history(numbers: &[u8]) -> History {
        numbers.iter().fold(History::default(), |history, &number| {
            history.accepted(version(number, Via::Folder), 10)
        })
    }

    fn back(history: &History) -> Result<History, NoVersion> {
        let Digest([number, ..]) = history.target(None)?;
        let mut marked = history.clone();
        marked.mark_rolled_back("it failed");
        Ok(marked.accepted(version(number, Via::Rollback), 10))
    }

    #[test]
    fn each_rollback_goes_further_back_until_there_is_nothing() {
        let second = back(&history(&[1, 2, 3])).expect("2 is there");
        assert_eq!(second.active, Some(Digest([2; 32])));
        let first = back(&second).expect("1 is there");
        assert_eq!(first.active, Some(Digest([1; 32])));
        assert_eq!(back(&first), Err(NoVersion::NothingBefore));
    }

    #[test]
    fn a_rollback_passes_over_what_was_rolled_back() {
        let first = back(&history(&[1, 2])).expect("1 is there");
        let third = first.accepted(version(3, Via::Deploy), 10);
        assert_eq!(third.target(None), Ok(Digest([1; 32])));
        let again =
            first.accepted(version(2, Via::Deploy), 10).accepted(version(3, Via::Deploy), 10);
        assert_eq!(again.target(None), Ok(Digest([2; 32])), "it was deployed again on purpose");
        let third = back(&third).expect("1 is there").accepted(version(1, Via::Deploy), 10);
        assert_eq!(third.target(None), Err(NoVersion::RolledBack));
    }

    #[test]
    fn a_version_is_found_by_the_beginning_of_its_digest() {
        let history = history(&[0x11, 0x12, 0x21]);
        assert_eq!(history.target(Some("11")), Ok(Digest([0x11; 32])));
        assert_eq!(history.target(Some("2")), Err(NoVersion::Runs(Digest([0x21; 32]))));
        assert_eq!(history.target(Some("1")), Err(NoVersion::Ambiguous("1".into())));
        assert_eq!(history.target(Some("3")), Err(NoVersion::Unknown("3".into())));
    }

    #[test]
    fn a_version_is_named_by_what_it_is() {
        let history = history(&[0x11, 0x12, 0x21]);
        let named = |name| history.named(name).map(|digest| digest.0[0]);
        assert_eq!((named("active"), named("18"), named("21")), (Ok(0x21), Ok(0x12), Ok(0x21)));
        assert_eq!(named("1"), Err(NoVersion::Ambiguous("1".into())));
        assert_eq!(History::default().named("active"), Err(NoVersion::Unknown("active".into())));
    }

    #[test]
    fn so_many_versions_are_kept_and_the_one_that_runs_always() {
        let mut history = history(&[1, 2, 3]);
        history = history.accepted(version(1, Via::Rollback), 2);
        let kept: Vec<u8> = history.versions.iter().map(|known| known.digest.0[0]).collect();
        assert_eq!(kept, [1, 3]);
    }

    #[test]
    fn it_is_recorded_and_read_again() {
        let history = back(&history(&[1, 2])).expect("1 is there");
        let text = serde_json::to_string(&history).expect("JSON");
        assert_eq!(serde_json::from_str::<History>(&text).expect("it is ours"), history);
    }
}
