//! `waypost bench`: the load tool, with this command as the router that it starts.

use waypost_bench::Program;

use super::Failure;

pub(super) use waypost_bench::Options;

/// What leads to the tool's own options; the processes of a measurement are this command again.
const BEFORE: &[&str] = &["bench"];

pub(super) fn run(options: Options) -> Result<(), Failure> {
    Ok(waypost_bench::run(options, &Program::current(BEFORE)?)?)
}
