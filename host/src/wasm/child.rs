//! A child process that is fed, heard and, when it takes too long, killed.

use std::{
    ffi::OsString,
    io::{self, Read, Write as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::CompileLimits;

/// A child may take so much longer on the wall clock than of CPU time.
const WALL_CLOCK_FACTOR: u64 = 10;
/// How often it is looked after.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// A component is so much larger than the artefact at most.
const MOST_GROWTH_BYTES: usize = 4 << 20;
/// What is kept of a child's last words.
const MOST_TOLD_BYTES: u64 = 4096;

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None` when it was killed for the time that it took.
    pub(super) status: Option<ExitStatus>,
    /// What it might take on the wall clock.
    pub(super) wall: Duration,
    pub(super) output: Vec<u8>,
    /// The beginning of what it wrote to its standard error.
    pub(super) told: String,
}

/// Runs a program on this input, with an empty environment, until it ends.
pub(super) fn run(
    program: &Path,
    arguments: &[OsString],
    input: &[u8],
    limits: CompileLimits,
) -> io::Result<Ended> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) = pipes else {
        // It ends when its input does.
        return child.wait().and(Err(io::Error::other("it has no pipes")));
    };
    let most = u64::try_from(input.len().saturating_add(MOST_GROWTH_BYTES)).unwrap_or(u64::MAX);
    let wall = Duration::from_secs(limits.seconds.saturating_mul(WALL_CLOCK_FACTOR));
    // The pipes are held by nobody but the child, so that each thread ends with it at the latest.
    thread::scope(|scope| {
        // A child that ends early does not read on; why is told by its status.
        scope.spawn(move || stdin.write_all(input));
        let output = scope.spawn(move || heard(&mut stdout, most));
        let told = scope.spawn(move || {
            let mut stderr = stderr;
            heard(&mut stderr, MOST_TOLD_BYTES)
        });
        let status = await_end(&mut child, wall);
        let output = output.join().unwrap_or_default();
        let told = String::from_utf8_lossy(&told.join().unwrap_or_default()).into_owned();
        Ok(Ended { status: status?, wall, output, told })
    })
}

/// The first bytes of what comes; the rest is read and forgotten, so that the child can go on.
fn heard(pipe: &mut impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be read was not said.
    let _ = pipe.by_ref().take(most).read_to_end(&mut bytes);
    let _ = io::copy(pipe, &mut io::sink());
    bytes
}

fn await_end(child: &mut Child, wall: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(status) => return Ok(status),
            Err(error) => {
                let _ = child.kill();
                return Err(error);
            }
        }
        if started.elapsed() >= wall {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}
