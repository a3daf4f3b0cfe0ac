//! `waypost dlq replay --dry-run --against`: what a version of a plugin says of letters.

use super::choose::go_on_with;
use crate::{
    admin::TryLetters,
    cli::{
        Failure,
        admin::AdminOptions,
        output::{Format, write_line},
        print::write_out,
        shown::printable,
        tap::said,
    },
    dlq::{LetterSelection, LetterTrial, LetterTrials},
};

/// Letters that are tried at once: each may take as long as its plugin may.
pub(super) const AT_ONCE: u32 = 50;

/// Prints a line for each letter.
pub(super) async fn run(
    admin: &AdminOptions,
    mut selection: LetterSelection,
    version: &str,
    format: Format,
) -> Result<(), Failure> {
    let mut is_whole = true;
    loop {
        let asked = TryLetters { select: selection.clone(), version: version.to_owned() };
        let body = serde_json::to_vec(&asked).map_err(anyhow::Error::from)?;
        let told: LetterTrials = admin.post("/api/v1/dlq/trial", body, None).await?;
        for trial in &told.trials {
            match format {
                Format::Json => write_line(trial)?,
                Format::Pretty => write_out(&line(trial))?,
            }
        }
        for refused in &told.refused {
            eprintln!("{} was not tried: {}", refused.address, printable(refused.error.as_bytes()));
        }
        is_whole &= told.refused.is_empty();
        if !go_on_with(&mut selection, told.next, told.until_ms)? {
            return if is_whole { Ok(()) } else { Err(Failure::Told) };
        }
    }
}

fn line(trial: &LetterTrial) -> String {
    let LetterTrial { address, plugin, version, verdict, reason, error } = trial;
    let outcome = match verdict {
        Some(verdict) => said(verdict),
        None => {
            let error = error.as_deref().unwrap_or_default();
            let reason = reason.as_deref().unwrap_or_default();
            format!("fails, {reason}: {}", printable(error.as_bytes()))
        }
    };
    format!("{address}  {plugin} {}: {outcome}\n", printable(version.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::ShownVerdict;

    #[test]
    fn a_trial_is_told_in_a_line() {
        let trial = LetterTrial {
            address: "dead/0/1".into(),
            plugin: "filter".into(),
            version: "1.0.0".into(),
            verdict: Some(ShownVerdict::Reject("no".into())),
            reason: None,
            error: None,
        };
        assert_eq!(line(&trial), "dead/0/1  filter 1.0.0: reject: no\n");
        let failed = LetterTrial {
            verdict: None,
            reason: Some("PLUGIN_TRAP".into()),
            error: Some("unreachable".into()),
            ..trial
        };
        assert_eq!(line(&failed), "dead/0/1  filter 1.0.0: fails, PLUGIN_TRAP: unreachable\n");
    }
}
