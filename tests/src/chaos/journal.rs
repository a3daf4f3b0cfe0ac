//! What a producer writes down, so that its next life knows what this one did: a line for each life, for each message
//! before it is sent, for each once it is known to be stored, and for how far the stream was read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};

/// One line. A line that was cut short by a kill is the last of its life, and none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// A life begins, by its number.
    Life(u64),
    /// A message is about to be sent.
    Sent(u64),
    /// It is stored.
    Acked(u64),
    /// Everything of older lives in a partition stands before this offset.
    Read {
        /// The partition.
        partition: u32,
        /// The offset.
        before: u64,
    },
}

/// What the lines say together.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) lives: u64,
    pub(super) sent: BTreeSet<u64>,
    pub(super) acked: BTreeSet<u64>,
    pub(super) read: BTreeMap<u32, u64>,
}

impl Journal {
    /// What stands in a file; nothing when there is none.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let mut journal = Self::default();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match Entry::parse(line).with_context(|| path.display().to_string())? {
                Entry::Life(life) => journal.lives = life,
                Entry::Sent(number) => {
                    journal.sent.insert(number);
                }
                Entry::Acked(number) => {
                    journal.acked.insert(number);
                }
                Entry::Read { partition, before } => {
                    journal.read.insert(partition, before);
                }
            }
        }
        Ok(journal)
    }

    /// What was sent, and is not known to be stored.
    pub(super) fn open(&self) -> BTreeSet<u64> {
        self.sent.difference(&self.acked).copied().collect()
    }
}

impl Entry {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        Ok(match words.as_slice() {
            ["life", number] => Self::Life(number.parse()?),
            ["sent", number] => Self::Sent(number.parse()?),
            ["acked", number] => Self::Acked(number.parse()?),
            ["read", partition, before] => {
                Self::Read { partition: partition.parse()?, before: before.parse()? }
            }
            _ => bail!("{line:?} is no line of a journal"),
        })
    }

    /// Appends it in one write, so that it is there whole or cut short at the end, whenever the process is killed.
    pub(super) fn append(self, mut file: &File) -> io::Result<()> {
        let line = match self {
            Self::Life(number) => format!("life {number}\n"),
            Self::Sent(number) => format!("sent {number}\n"),
            Self::Acked(number) => format!("acked {number}\n"),
            Self::Read { partition, before } => format!("read {partition} {before}\n"),
        };
        file.write_all(line.as_bytes())
    }
}

/// Opens the file to append to it, and cuts off what a kill left of a line.
pub(super) fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    let text = fs::read(path)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    file.set_len(whole as u64)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_a_line_that_was_cut_short_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let file = open(&path).expect("a new file");
        for entry in [
            Entry::Life(1),
            Entry::Sent(1),
            Entry::Sent(2),
            Entry::Acked(1),
            Entry::Read { partition: 3, before: 9 },
        ] {
            entry.append(&file).expect("it is writable");
        }
        (&file).write_all(b"acked 2").expect("it is writable");
        drop(file);
        for _ in 0..2 {
            let journal = Journal::load(&path).expect("whole lines");
            assert_eq!((journal.lives, journal.open()), (1, BTreeSet::from([2])));
            assert_eq!(journal.read, BTreeMap::from([(3, 9)]));
            open(&path).expect("it is cut");
        }
        assert!(fs::read_to_string(&path).expect("it stands").ends_with("read 3 9\n"));
    }
}
