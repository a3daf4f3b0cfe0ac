//! Does harm in the manner that its configuration says, on messages whose payload begins with `bad`, and
//! keeps every other message.
#![forbid(unsafe_code)]

use std::hint::black_box;

use waypost_sdk::{Manifest, Reads, Role, prelude::*};

/// What to do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    mode: Mode,
}

/// What a bad message makes it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Panics.
    Panic,
    /// Never ends.
    Loop,
    /// Takes all memory that there is.
    Memory,
    /// Calls itself for ever.
    Recursion,
    /// Emits more bytes than an answer may have.
    Output,
    /// Writes lines and lines, and keeps the message.
    Logs,
    /// Keeps the message, and 64 KiB of memory for ever.
    Leak,
    /// Passes the self-test, and panics on everything else.
    Sulk,
}

/// The plugin.
pub struct Hostile {
    mode: Mode,
    leaked: Vec<Vec<u8>>,
}

const LEAKED_BYTES: usize = 64 << 10;
const LINES: usize = 2000;

impl Plugin for Hostile {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest {
            name: "hostile",
            version: "1.0.0",
            role: Role::General,
            reads: Reads { topics: true, payloads: true, ..Reads::NONE },
            imports: &[],
            deterministic: true,
        }
    }

    fn new(Config { mode }: Config) -> Result<Self> {
        Ok(Self { mode, leaked: Vec::new() })
    }

    fn process(&mut self, message: &Message<'_>, emitter: &mut Emitter<'_>) -> Result<Verdict> {
        let is_bad = match self.mode {
            Mode::Sulk => message.topic() != "self-test",
            _ => message.payload().starts_with(b"bad"),
        };
        if !is_bad {
            return Ok(Verdict::Forward);
        }
        match self.mode {
            Mode::Panic => harm(message.payload()),
            Mode::Sulk => panic!("I do not like real messages"),
            Mode::Loop => loop {
                black_box(());
            },
            Mode::Memory => loop {
                self.leaked.push(vec![1; 1 << 20]);
            },
            Mode::Recursion => {
                black_box(deep(black_box(1)));
            }
            Mode::Output => {
                for _ in 0..8 {
                    emitter.emit(Outgoing::new().payload(vec![b'x'; 1 << 19]))?;
                }
                return Ok(Verdict::Emit);
            }
            Mode::Logs => {
                let line = "x".repeat(4000);
                (0..LINES).for_each(|_| log::info(&line));
            }
            Mode::Leak => self.leaked.push(black_box(vec![1; LEAKED_BYTES])),
        }
        Ok(Verdict::Forward)
    }
}

/// Stands in backtraces.
#[inline(never)]
fn harm(payload: &[u8]) {
    panic!("I do not like {:?}", String::from_utf8_lossy(payload));
}

#[expect(unconditional_recursion, reason = "that is the harm")]
fn deep(depth: u64) -> u64 {
    black_box(deep(black_box(depth + 1))) + depth
}

waypost_sdk::export!(Hostile);
