//! The `waypost` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    waypost::cli::main()
}
