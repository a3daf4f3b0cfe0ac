//! How the command ends when it fails.

use std::process::ExitCode;

use super::{config::style, shown::printable};
use crate::config::ConfigErrors;

/// Why a command failed, which decides its exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong: 78, as `sysexits.h` has it.
    Config(Box<ConfigErrors>),
    /// Storage refuses its files, or a write to it has failed: 75, as `sysexits.h` has it for what may be
    /// tried again.
    Storage(String),
    /// Anything else: 1.
    Other(anyhow::Error),
    /// It was told already: 1.
    Told,
    /// What is wrong with the configuration was told already: 78.
    ConfigTold,
}

const CONFIG: u8 = 78;
const STORAGE: u8 = 75;

impl Failure {
    /// Says why, on standard error, and gives the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Self::Config(errors) => {
                eprint!("{}", errors.render(style()));
                ExitCode::from(CONFIG)
            }
            Self::Storage(reason) => {
                eprintln!("error: {}", printable(reason.as_bytes()));
                ExitCode::from(STORAGE)
            }
            Self::Other(error) => {
                eprintln!("error: {}", printable(told(&error).as_bytes()));
                ExitCode::FAILURE
            }
            Self::Told => ExitCode::FAILURE,
            Self::ConfigTold => ExitCode::from(CONFIG),
        }
    }
}

/// An error with its causes, but for those that it tells itself.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || std::io::Error::other("no such disk");
        let silent = Err::<(), _>(cause()).context("a.json").expect_err("it is one");
        assert_eq!(told(&silent), "a.json: no such disk");
        let open = Err::<(), _>(cause()).context("a.json: no such disk; mount it");
        assert_eq!(told(&open.expect_err("it is one")), "a.json: no such disk; mount it");
    }
}
