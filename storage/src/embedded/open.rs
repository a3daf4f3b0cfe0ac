//! Opens the store, and refuses one that lost what it had acknowledged.

use std::{
    any::Any,
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use waypost_core::{Partition, RouteName, StreamName};
use waypost_protocol::{Offset, ProducerId};

use super::{
    create::{CreateError, create},
    format,
    holes::look_again,
    keys::{self, CHAIN, PartitionKey},
    moving::move_back,
    records,
    store::{Changes, Space, Store, system_error},
    synced::SyncedFile,
};
use crate::{CommitNumber, MovedBack, ledger::Ledger};

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file or folder could not be read or made.
    #[error("{path}: {source}; see to the disk and to whose its files are, and start anew")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("{0} is open in another process; a store has one router")]
    Locked(PathBuf),
    /// A later version wrote it.
    #[error(
        "{path} holds version {found} of the format, and this router knows up to {known}; run the version that wrote \
         it, or a later one"
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest that is known.
        known: u32,
    },
    /// The storage library refused its files.
    #[error(
        "{path} does not open: {reason}; restore a copy, or move the folder away to begin anew"
    )]
    Library {
        /// The library's folder.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// The newest commits are gone.
    #[error(
        "commits {} to {synced} are lost: they were synced and acknowledged, and {path} ends at \
         {recovered}; restore a copy, or accept the loss",
        recovered.0 + 1
    )]
    Lost {
        /// The store.
        path: PathBuf,
        /// The last commit that is there.
        recovered: CommitNumber,
        /// The last commit that was synced.
        synced: CommitNumber,
    },
    /// Commits in the middle are gone.
    #[error(
        "{count} commits between {first} and {last} are lost: {path} has later ones; restore a copy, or \
         accept the loss"
    )]
    Gap {
        /// The store.
        path: PathBuf,
        /// The first that is missing.
        first: CommitNumber,
        /// The last that is missing.
        last: CommitNumber,
        /// How many are.
        count: u64,
    },
    /// The file that keeps the last synced number is gone or damaged.
    #[error(
        "{path} should say which commit was synced last, and does not; restore it, or accept that the store \
         may have lost commits behind {recovered}"
    )]
    NumberMissing {
        /// The file.
        path: PathBuf,
        /// The last commit that is there.
        recovered: CommitNumber,
    },
    /// The end of a partition is gone.
    #[error(
        "{partition} ends at {end}, and should at {next}: what stood between is lost from {path}; restore a copy, or \
         accept the loss"
    )]
    Short {
        /// The store.
        path: PathBuf,
        /// Which partition.
        partition: Partition,
        /// Where its batches end.
        end: Offset,
        /// Where they should.
        next: Offset,
    },
    /// Something in the store contradicts something else, or does not decode.
    #[error("{path} is damaged: {what}; restore a copy, or move the folder away to begin anew")]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A store as it was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) ledger: Ledger,
    pub(super) number: CommitNumber,
    pub(super) synced: SyncedFile,
    pub(super) moved_back: Vec<MovedBack>,
}

pub(super) fn open(
    folder: &Path,
    cache_bytes: u64,
    max_producers: usize,
    accept_loss: bool,
) -> Result<Opened, OpenError> {
    let (path, number_path) = (folder.join("streams"), folder.join("synced"));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    format::check(folder)?;
    let library = |error: fjall::Error| refused(&path, &error);
    create(&path, cache_bytes).map_err(|error| match error {
        CreateError::Io(source) => io(&path)(source),
        CreateError::Library(error) => library(error),
    })?;
    // The library panics on some damage of its journal.
    let opened = std::panic::catch_unwind(|| Store::open(&path, cache_bytes));
    let store = opened.map_err(|panic| panicked(&path, &*panic))?.map_err(library)?;
    let read = |key| store.state(key).map(|value| number(value.as_ref()));
    let recovered = read(keys::LAST_COMMIT).map_err(library)?;
    let accepted = read(keys::ACCEPTED).map_err(library)?;
    let chain: Vec<_> = store.chain().collect::<Result<_, _>>().map_err(library)?;
    let (synced, kept) = SyncedFile::open(&number_path).map_err(io(&number_path))?;

    let whole = check_kept(kept, recovered, &path, &number_path)
        .and_then(|()| check_chain(chain.into_iter().flatten(), recovered, accepted, &path));
    match whole {
        Err(_) if accept_loss => accept(&store, recovered).map_err(library)?,
        whole => whole?,
    }
    store.sync().map_err(library)?;
    synced.reset(recovered).map_err(io(&number_path))?;
    sync_folder(folder).map_err(io(folder))?;
    let mut ledger = load(&store, max_producers, &path)?;
    let damaged = |what: String| OpenError::Damaged { path: path.clone(), what };
    if accept_loss {
        look_again(&store, &mut ledger).map_err(damaged)?;
    }
    check_ends(&store, &ledger, &path)?;
    let moved_back = move_back(&store, &mut ledger).map_err(damaged)?;
    Ok(Opened { store, ledger, number: recovered, synced, moved_back })
}

/// What the system refused is no damage; that a file of the store is not there is.
fn refused(path: &Path, error: &fjall::Error) -> OpenError {
    let path = path.to_owned();
    let refusal = system_error(error).filter(|error| error.kind() != io::ErrorKind::NotFound);
    match (error, refusal) {
        (fjall::Error::Locked, _) => OpenError::Locked(path),
        (_, Some(source)) => OpenError::Io { path, source },
        (error, None) => OpenError::Library { path, reason: error.to_string() },
    }
}

fn panicked(path: &Path, panic: &(dyn Any + Send)) -> OpenError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
    OpenError::Library { path: path.to_owned(), reason: text.to_owned() }
}

fn number(value: Option<&Bytes>) -> CommitNumber {
    CommitNumber(value.and_then(|value| keys::number_of(value)).unwrap_or(0))
}

/// Holds what was recovered against the number that was kept apart.
fn check_kept(
    kept: Option<CommitNumber>,
    recovered: CommitNumber,
    path: &Path,
    number_path: &Path,
) -> Result<(), OpenError> {
    match kept {
        Some(synced) if synced > recovered => {
            Err(OpenError::Lost { path: path.to_owned(), recovered, synced })
        }
        None if recovered > CommitNumber(0) => {
            Err(OpenError::NumberMissing { path: number_path.to_owned(), recovered })
        }
        _ => Ok(()),
    }
}

/// Looks for commits that are missing among the last ones that left a key.
fn check_chain(
    found: impl Iterator<Item = CommitNumber>,
    recovered: CommitNumber,
    accepted: CommitNumber,
    path: &Path,
) -> Result<(), OpenError> {
    let floor = accepted.0.max(recovered.0.saturating_sub(u64::from(CHAIN)));
    let mut found: Vec<u64> = found.map(|number| number.0).filter(|n| *n > floor).collect();
    found.sort_unstable();
    let mut missing = (floor + 1..=recovered.0).filter(|n| found.binary_search(n).is_err());
    let Some(first) = missing.next() else { return Ok(()) };
    let (count, last) = missing.fold((1, first), |(count, _), last| (count + 1, last));
    let (first, last) = (CommitNumber(first), CommitNumber(last));
    Err(OpenError::Gap { path: path.to_owned(), first, last, count })
}

/// Notes that whatever is missing up to here is given up.
fn accept(store: &Store, recovered: CommitNumber) -> fjall::Result<()> {
    let value = Bytes::copy_from_slice(&recovered.0.to_be_bytes());
    let mut changes = Changes::new();
    changes.insert((Space::State, keys::ACCEPTED.to_vec()), Some(value));
    store.commit(changes, true)
}

/// The file of the number is found again after a loss of power only if its folder was synced.
fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

fn load(store: &Store, max_producers: usize, path: &Path) -> Result<Ledger, OpenError> {
    let damaged = |what: String| OpenError::Damaged { path: path.to_owned(), what };
    let mut ledger = Ledger::new(max_producers);
    for tag in
        [keys::STREAM, keys::PLACE, keys::PRODUCER, keys::CLAIMS, keys::PROGRESS, keys::GROUP]
    {
        for entry in store.states(&[tag]) {
            let (key, value) = entry.map_err(|error| damaged(error.to_string()))?;
            let taken = take(&mut ledger, tag, &key, &value);
            taken.ok_or_else(|| damaged(format!("the state {key:?} does not decode")))?;
        }
    }
    Ok(ledger)
}

/// Holds the ends of partitions against their newest batches.
fn check_ends(store: &Store, ledger: &Ledger, path: &Path) -> Result<(), OpenError> {
    let damaged = |what: String| OpenError::Damaged { path: path.to_owned(), what };
    for (partition, place) in &ledger.places {
        let stream = ledger.streams.get(&partition.stream).map_or(0, |record| record.number);
        let key = PartitionKey { stream, partition: partition.index.0 };
        let bounds = place.bounds;
        let newest = store.index(key, bounds.first, Offset(u64::MAX)).next_back().transpose();
        let newest = newest.map_err(damaged)?;
        let end = newest
            .map_or(bounds.first, |(base, aged)| Offset(base.0.saturating_add(aged.messages)));
        let next = bounds.next;
        if end > next {
            return Err(damaged(format!("{partition} ends at {end}, and should at {next}")));
        }
        if end < next {
            let accepted = store.state(key.hole()).map_err(|error| damaged(error.to_string()))?;
            let accepted = accepted.and_then(|value| keys::number_of(&value)).map(Offset);
            if accepted.is_none_or(|accepted| accepted < next) {
                let (path, partition) = (path.to_owned(), partition.clone());
                return Err(OpenError::Short { path, partition, end, next });
            }
        }
    }
    Ok(())
}

/// Takes one entry of the state.
fn take(ledger: &mut Ledger, tag: u8, key: &[u8], value: &[u8]) -> Option<()> {
    let partition_of = |ledger: &Ledger, key: PartitionKey| {
        let found = ledger.streams.iter().find(|(_, record)| record.number == key.stream);
        found.map(|(name, _)| Partition::new(name.clone(), key.partition))
    };
    match tag {
        keys::STREAM => {
            let name = StreamName::parse(std::str::from_utf8(key.get(1..)?).ok()?).ok()?;
            ledger.streams.insert(name, records::decode_stream(value)?);
        }
        keys::PRODUCER => {
            let id = ProducerId(keys::number_of(key.get(1..)?)?);
            ledger.producers.insert(id, records::decode_producer(value)?);
        }
        keys::GROUP => {
            let (group, place) = keys::group_of(key)?;
            let (revision, _) = records::decode_group(value)?;
            ledger.groups.insert((group, partition_of(ledger, place)?), revision);
        }
        _ => {
            let (place, rest) = PartitionKey::split(key)?;
            let partition = partition_of(ledger, place)?;
            match tag {
                keys::PLACE => {
                    ledger.places.insert(partition, records::decode_place(value)?);
                }
                keys::CLAIMS => {
                    let id = ProducerId(keys::number_of(rest)?);
                    ledger.claims.insert((partition, id), records::decode_claims(value)?);
                }
                _ => {
                    let route = RouteName::parse(std::str::from_utf8(rest).ok()?).ok()?;
                    let offset = Offset(keys::number_of(value)?);
                    ledger.progress.insert((route, partition), offset);
                }
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first, the last and the count of what is missing.
    fn missing(
        found: impl IntoIterator<Item = u64>,
        recovered: u64,
        accepted: u64,
    ) -> Option<(u64, u64, u64)> {
        let found = found.into_iter().map(CommitNumber);
        let (recovered, accepted) = (CommitNumber(recovered), CommitNumber(accepted));
        match check_chain(found, recovered, accepted, Path::new("store")) {
            Ok(()) => None,
            Err(OpenError::Gap { first, last, count, .. }) => Some((first.0, last.0, count)),
            Err(other) => panic!("another error: {other}"),
        }
    }

    #[test]
    fn a_whole_chain_is_whole_however_long_the_store_lives() {
        let chain = u64::from(CHAIN);
        assert_eq!(missing([], 0, 0), None);
        assert_eq!(missing(1..=9, 9, 0), None);
        let last = chain * 3 + 5;
        assert_eq!(missing(last - chain + 1..=last, last, 0), None);
    }

    #[test]
    fn missing_commits_are_named_unless_their_loss_was_accepted() {
        let found = || (1..=9).filter(|number| ![4, 6].contains(number));
        assert_eq!(missing(found(), 9, 0), Some((4, 6, 2)));
        assert_eq!(missing(found(), 9, 5), Some((6, 6, 1)));
        assert_eq!(missing(found(), 9, 6), None);
    }

    #[test]
    fn the_number_that_was_kept_apart_may_be_behind_and_never_ahead() {
        let check = |kept: Option<u64>, recovered| {
            let kept = kept.map(CommitNumber);
            check_kept(kept, CommitNumber(recovered), Path::new("store"), Path::new("synced"))
        };
        assert!(check(Some(4), 5).is_ok() && check(Some(5), 5).is_ok() && check(None, 0).is_ok());
        assert!(matches!(check(None, 1), Err(OpenError::NumberMissing { .. })));
        let lost = check(Some(7), 5).expect_err("two are lost");
        assert!(lost.to_string().contains("commits 6 to 7 are lost"), "{lost}");
    }
}
