//! Counts the instructions of the hot pieces, and holds them against those that are recorded.
//!
//! Time says little on a machine that others use; the number of instructions hardly changes from run to run. Each
//! piece runs twice under callgrind, so often and twice so often, and the difference is what it costs: start-up cancels
//! out. Which version of a function glibc takes depends on the processor, and with `rep movsb` callgrind counts each
//! byte: so all are made to take the same one. The tolerance is for what remains: other releases of the libraries, and
//! when the storage engine's own threads do what.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use crate::command::{cargo, output, root, run, target};

/// How to count.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write what is counted as the new baseline, instead of holding it against the one there is.
    #[arg(long)]
    record: bool,
    /// Count these pieces alone.
    pieces: Vec<String>,
}

const PACKAGE: &str = "waypost-counts";
const BASELINE: &str = "bench/counts/baseline.json";
/// How much more or less a piece may cost than is recorded.
const TOLERANCE: f64 = 0.05;
/// How much more a piece may cost than the one that has little beside it.
const FLAT: f64 = 1.15;

/// Copies as any x86-64 processor makes them.
const TUNABLES: &str = "glibc.cpu.hwcaps=-ERMS,-AVX_Fast_Unaligned_Load,-AVX2,-AVX2_Usable";

/// Instructions for a message, by piece.
type Counts = BTreeMap<String, f64>;

/// Builds what is counted, counts, and compares. Without valgrind there is nothing to count with, which is no failure.
pub(crate) fn check(options: &Options) -> anyhow::Result<()> {
    if output(Command::new("valgrind").arg("--version")).is_err() {
        eprintln!("xtask: no instructions are counted: valgrind is not installed");
        return Ok(());
    }
    cargo(&["build", "--locked", "--release", "--package", PACKAGE])?;
    let program = target().join("release").join(PACKAGE);
    let file = root().join(BASELINE);
    let recorded = read(&file)?;
    let listed = output(&mut Command::new(&program))?;
    let all = listed.lines().map(Piece::parse).collect::<anyhow::Result<Vec<_>>>()?;
    let is_wanted = |piece: &Piece| {
        let names = &options.pieces;
        names.is_empty()
            || names.contains(&piece.name)
            // What another one is held against is counted with it.
            || all.iter().any(|other| {
                names.contains(&other.name) && other.flat_with.as_ref() == Some(&piece.name)
            })
    };
    if let Some(unknown) =
        options.pieces.iter().find(|name| all.iter().all(|piece| piece.name != **name))
    {
        bail!("there is no piece {unknown}; {} without arguments lists them", program.display());
    }

    let mut counts = Counts::new();
    let mut slips = Vec::new();
    println!("{:<20} {:>12} {:>12} {:>8}", "instructions/message", "recorded", "now", "");
    for piece in all.iter().filter(|piece| is_wanted(piece)) {
        let count = piece.count(&program)?;
        counts.insert(piece.name.clone(), count);
        let before = recorded.get(&piece.name).copied();
        println!("{}", row(&piece.name, before, count));
        if !options.record {
            slips.extend(slip(&piece.name, before, count));
        }
        let small = piece.flat_with.as_ref().and_then(|name| counts.get(name));
        slips.extend(small.and_then(|small| steep(piece, *small, count)));
    }
    if options.record {
        let merged: Counts = recorded
            .into_iter()
            .filter(|(name, _)| all.iter().any(|piece| piece.name == *name))
            .chain(counts)
            .collect();
        fs::write(&file, serde_json::to_string_pretty(&merged)? + "\n")?;
        eprintln!("xtask: {BASELINE} is written");
    }
    ensure!(
        slips.is_empty(),
        "{}\n`cargo xtask counts --record` records what is meant",
        slips.join("\n")
    );
    Ok(())
}

/// Something to count, as the program lists it.
#[derive(Debug, PartialEq)]
struct Piece {
    name: String,
    iterations: u64,
    messages: u64,
    flat_with: Option<String>,
}

impl Piece {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, iterations, messages, flat_with] = fields.as_slice() else {
            bail!("{PACKAGE} lists {line:?}");
        };
        Ok(Self {
            name: (*name).to_owned(),
            iterations: iterations.parse()?,
            messages: messages.parse()?,
            flat_with: (*flat_with != "-").then(|| (*flat_with).to_owned()),
        })
    }

    /// Instructions for a message.
    fn count(&self, program: &Path) -> anyhow::Result<f64> {
        let Self { name, iterations, messages, .. } = self;
        let once = instructions(program, name, *iterations)?;
        let twice = instructions(program, name, 2 * iterations)?;
        let more = twice.checked_sub(once).filter(|more| *more > 0);
        let more = more.with_context(|| format!("{name} costs nothing the second time"))?;
        Ok(more as f64 / (iterations * messages) as f64)
    }
}

/// What a whole run takes, all its threads together.
fn instructions(program: &Path, piece: &str, iterations: u64) -> anyhow::Result<u64> {
    let folder = target().join("counts");
    fs::create_dir_all(&folder)?;
    let out = |name: &str| -> PathBuf { folder.join(name) };
    let (profile, log) = (out("callgrind.out"), out("callgrind.log"));
    let option = |name: &str, file: &Path| format!("--{name}={}", file.display());
    let mut command = Command::new("valgrind");
    command.env("GLIBC_TUNABLES", TUNABLES);
    command.args(["--tool=callgrind", &option("callgrind-out-file", &profile)]);
    command.arg(option("log-file", &log)).arg(program).args([piece, &iterations.to_string()]);
    run(&mut command)?;
    let log = fs::read_to_string(&log)?;
    collected(&log).with_context(|| format!("callgrind tells no count:\n{log}"))
}

/// The sum that callgrind tells at its end.
fn collected(log: &str) -> Option<u64> {
    let (_, count) = log.lines().find_map(|line| line.split_once("Collected :"))?;
    count.trim().parse().ok()
}

fn read(file: &Path) -> anyhow::Result<Counts> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| file.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Counts::new()),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

fn row(name: &str, before: Option<f64>, count: f64) -> String {
    let (recorded, change) = match before {
        Some(before) => {
            (format!("{before:.1}"), format!("{:+.1} %", (count / before - 1.0) * 100.0))
        }
        None => ("-".to_owned(), "new".to_owned()),
    };
    format!("{name:<20} {recorded:>12} {count:>12.1} {change:>8}")
}

/// What is wrong with a count beside the recorded one.
fn slip(name: &str, before: Option<f64>, count: f64) -> Option<String> {
    let Some(before) = before else {
        return Some(format!("{name} is not in {BASELINE}"));
    };
    let change = count / before - 1.0;
    let side = if change > 0.0 { "more" } else { "less" };
    (change.abs() > TOLERANCE).then(|| {
        format!(
            "{name} takes {count:.1} instructions a message, {:.1} % {side} than {before:.1}",
            change.abs() * 100.0
        )
    })
}

/// What is wrong with a count beside that of the piece with little beside it.
fn steep(piece: &Piece, small: f64, count: f64) -> Option<String> {
    let with = piece.flat_with.as_ref()?;
    (count > small * FLAT).then(|| {
        format!(
            "{} takes {count:.1} instructions a message where {with} takes {small:.1}: not flat",
            piece.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_found_in_what_callgrind_tells() {
        let log = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(collected(log), Some(1_234_567));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn a_piece_is_listed_with_what_it_is_held_against() {
        let piece = Piece::parse("match-beside-100 20000 1 match").expect("it is complete");
        assert_eq!((piece.iterations, piece.flat_with.as_deref()), (20_000, Some("match")));
        assert_eq!(Piece::parse("decode 500 64 -").expect("it is complete").flat_with, None);
        assert!(Piece::parse("decode 500").is_err());
    }

    #[test]
    fn more_and_less_than_the_tolerance_is_a_slip_and_so_is_what_nobody_recorded() {
        let is_slip = |before, count| slip("decode", before, count).is_some();
        assert!(!is_slip(Some(100.0), 104.0) && !is_slip(Some(100.0), 96.0));
        assert!(is_slip(Some(100.0), 106.0) && is_slip(Some(100.0), 94.0) && is_slip(None, 100.0));
    }

    #[test]
    fn a_piece_may_cost_little_more_than_the_one_with_nothing_beside_it() {
        let piece = Piece::parse("match-beside-100 1 1 match").expect("it is complete");
        assert!(steep(&piece, 100.0, 110.0).is_none());
        assert!(steep(&piece, 100.0, 120.0).is_some());
    }
}
