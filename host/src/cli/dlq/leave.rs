//! `waypost dlq replay` and `purge`: letters that leave.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::bail;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    choose::{ChoiceOptions, go_on_with},
    trial,
};
use crate::{
    admin::{PurgeLetters, ReplayLetters},
    cli::{
        Failure,
        admin::AdminOptions,
        output::{Format, OutcomeOptions, counted},
        shown::printable,
    },
    dlq::{LetterSelection, LettersLeft, ReplayTo},
};

/// Letters that leave at once: an answer comes in time however slow storage is.
const AT_ONCE: u32 = 250;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Replay {
    #[command(flatten)]
    choice: ChoiceOptions,
    /// Where to: the stage of the route over streams that failed, or the topic that they were published on.
    #[arg(long, value_enum, default_value_t = ReplayTo::Stage)]
    to: ReplayTo,
    /// Only tell how many would be, or with --against what would come of them.
    #[arg(long)]
    dry_run: bool,
    /// What this version of the plugin says of them, with the configuration of the stage that failed: active, a version
    /// of its manifest, or the beginning of a digest that is kept.
    #[arg(long, value_name = "VERSION", requires = "dry_run")]
    against: Option<String>,
    #[command(flatten)]
    outcome: OutcomeOptions,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Purge {
    #[command(flatten)]
    choice: ChoiceOptions,
    /// Do not ask first; without a terminal it must be said.
    #[arg(long)]
    yes: bool,
    /// Only tell how many would be.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    outcome: OutcomeOptions,
    #[command(flatten)]
    admin: AdminOptions,
}

pub(super) async fn replay(options: &Replay) -> Result<(), Failure> {
    let Replay { choice, to, dry_run, against, outcome, admin } = options;
    if let Some(version) = against {
        let selection = choice.selection(trial::AT_ONCE)?;
        return trial::run(admin, selection, version, outcome.format()).await;
    }
    let ask = |select| ReplayLetters { select, to: *to, dry_run: *dry_run };
    let selection = choice.selection(AT_ONCE)?;
    let left = all(admin, "/api/v1/dlq/replay", selection, ask).await?;
    let done = if *dry_run { "would be replayed" } else { "replayed" };
    tell(*outcome, &left, done)
}

pub(super) async fn purge(options: &Purge) -> Result<(), Failure> {
    let Purge { choice, yes, dry_run, outcome, admin } = options;
    let selection = choice.selection(AT_ONCE)?;
    if !yes && !dry_run {
        let what = if choice.is_named() { "these letters" } else { "all letters of this filter" };
        confirm(what)?;
    }
    let ask = |select| PurgeLetters { select, dry_run: *dry_run };
    let left = all(admin, "/api/v1/dlq/purge", selection, ask).await?;
    let done = if *dry_run { "would be purged" } else { "purged" };
    tell(*outcome, &left, done)
}

/// Asks until there are no more.
async fn all<T: Serialize>(
    admin: &AdminOptions,
    path: &str,
    mut selection: LetterSelection,
    ask: impl Fn(LetterSelection) -> T,
) -> anyhow::Result<LettersLeft> {
    let mut sum = LettersLeft::default();
    loop {
        let body = serde_json::to_vec(&ask(selection.clone()))?;
        let left: LettersLeft = match post(admin, path, body).await {
            Ok(left) => left,
            Err(error) if sum.letters > 0 => {
                let done = counted(sum.letters, "letter");
                return Err(error.context(format!("{done} had left before this")));
            }
            Err(error) => return Err(error),
        };
        sum.letters += left.letters;
        sum.until_ms = left.until_ms;
        sum.refused.extend(left.refused);
        if !go_on_with(&mut selection, left.next, left.until_ms)? {
            return Ok(sum);
        }
    }
}

async fn post<T: DeserializeOwned>(
    admin: &AdminOptions,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<T> {
    admin.post(path, body, Some("waypost dlq list")).await
}

fn tell(outcome: OutcomeOptions, left: &LettersLeft, done: &str) -> Result<(), Failure> {
    outcome.tell(left, &format!("{} {done}", counted(left.letters, "letter")))?;
    if left.refused.is_empty() {
        return Ok(());
    }
    if outcome.format() == Format::Pretty {
        for refused in &left.refused {
            eprintln!("{} stays: {}", refused.address, printable(refused.error.as_bytes()));
        }
    }
    Err(Failure::Told)
}

fn confirm(what: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("say --yes to purge {what}: nobody is asked without a terminal");
    }
    eprint!("purge {what} for good? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was purged"),
    }
}
