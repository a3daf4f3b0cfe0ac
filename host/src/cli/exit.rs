//! How the command ends when it fails.

use std::process::ExitCode;

use super::config::style;
use crate::config::ConfigErrors;

/// Why a command failed, which decides its exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong: 78, as `sysexits.h` has it.
    Config(Box<ConfigErrors>),
    /// Anything else: 1.
    Other(anyhow::Error),
    /// It was told already: 1.
    Told,
}

const CONFIG: u8 = 78;

impl Failure {
    /// Says why, on standard error, and gives the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Self::Config(errors) => {
                eprint!("{}", errors.render(style()));
                ExitCode::from(CONFIG)
            }
            Self::Other(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
            Self::Told => ExitCode::FAILURE,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}
