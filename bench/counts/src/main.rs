//! Runs one hot piece so often as it is told, and nothing else: `cargo xtask counts` runs it twice under callgrind,
//! and takes the difference, so that what happens once cancels out.
//!
//! Without arguments it lists the pieces, one a line: name, iterations to run at least, messages of an iteration, and
//! the piece that it may cost no more than, if there is one.
#![forbid(unsafe_code)]

mod append;
mod batches;
mod matching;

use anyhow::{Context as _, bail};

/// What is counted.
struct Piece {
    name: &'static str,
    /// So many that what happens now and then does not matter.
    iterations: u64,
    /// Messages of one iteration.
    messages: u64,
    /// The piece whose cost it must have too, whatever else there is beside: the name of one with little beside it.
    flat_with: Option<&'static str>,
    run: fn(u64) -> anyhow::Result<()>,
}

fn pieces() -> impl Iterator<Item = Piece> {
    batches::pieces().into_iter().chain(matching::pieces()).chain(append::pieces())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            for Piece { name, iterations, messages, flat_with, .. } in pieces() {
                println!("{name} {iterations} {messages} {}", flat_with.unwrap_or("-"));
            }
            Ok(())
        }
        [name, iterations] => {
            let piece = pieces().find(|piece| piece.name == name);
            let piece = piece.with_context(|| format!("there is no piece {name}"))?;
            (piece.run)(iterations.parse().context("iterations are a number")?)
        }
        _ => bail!("give a piece and how often to run it, or nothing"),
    }
}
