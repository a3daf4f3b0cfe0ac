//! A dry run: what a kept version of a plugin says of letters, with the configuration of the stage that they failed at.
//!
//! The version is prepared beside the one that runs, and each letter meets an instance of its own, under the limits
//! of the plugin. Nothing is delivered, and nothing that the plugin counts is kept.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use waypost_core::{Giver, fold};
use waypost_protocol::{Batch, Limits};

use super::{Dlq, DlqError, LetterSelection, RefusedLetter, leave::Selected, scan::Found};
use crate::{
    deploy::Deployer,
    router::{
        ShownVerdict, shown_verdict,
        stage::{StageFailure, StageVersion},
    },
};

/// After so long an answer is given, and the next request goes on.
const LONGEST: Duration = Duration::from_secs(30);

/// What a version says of letters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterTrials {
    /// What came of each letter that was tried.
    pub(crate) trials: Vec<LetterTrial>,
    /// Where to go on; nothing when there are no more.
    pub(crate) next: Option<String>,
    /// They failed before this time.
    pub(crate) until_ms: u64,
    /// Those that were not tried, and why.
    pub(crate) refused: Vec<RefusedLetter>,
}

/// What a version says of a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterTrial {
    /// Where it stands.
    pub(crate) address: String,
    /// The plugin.
    pub(crate) plugin: String,
    /// The version in its manifest.
    pub(crate) version: String,
    /// What it said, if it did not fail.
    pub(crate) verdict: Option<ShownVerdict>,
    /// The reason that the message would be a dead letter for, as a code.
    pub(crate) reason: Option<String>,
    /// The reason in words.
    pub(crate) error: Option<String>,
}

/// Versions by route and stage, or why there is none.
type Versions = HashMap<(String, String), Result<Arc<dyn StageVersion>, String>>;

impl Dlq {
    /// Tries letters at their stage with a version: `active`, a version of a manifest, or the beginning of a digest.
    pub(crate) async fn trial(
        &self,
        selection: LetterSelection,
        version: &str,
        deployer: &Deployer,
    ) -> Result<LetterTrials, DlqError> {
        let Selected { letters, next, until_ms, .. } = self.select(selection).await?;
        let mut told = LetterTrials { next, until_ms, ..LetterTrials::default() };
        let (mut versions, end) = (Versions::new(), Instant::now() + LONGEST);
        for found in letters {
            let address = found.address.to_string();
            if Instant::now() > end {
                told.next = Some(address);
                break;
            }
            match self.try_out(&found, version, deployer, &mut versions).await {
                Ok(trial) => told.trials.push(trial),
                Err(error) => told.refused.push(RefusedLetter { address, error }),
            }
        }
        Ok(told)
    }

    async fn try_out(
        &self,
        found: &Found,
        version: &str,
        deployer: &Deployer,
        versions: &mut Versions,
    ) -> Result<LetterTrial, String> {
        let letter = found.letter().ok_or("it is no letter")?;
        let Giver::Route(route) = letter.giver else {
            return Err("a group gave up on it: no plugin failed on it".into());
        };
        let stage = letter.stage.ok_or("it failed behind all stages: no plugin failed on it")?;
        let message = letter.message().map_err(|error| error.to_string())?;
        let place = (route.to_owned(), stage.to_owned());
        let version = match versions.get(&place) {
            Some(version) => version.clone(),
            None => {
                let made = deployer.kept_version(route, stage, version).await;
                let made = made.map_err(|error| error.to_string());
                versions.insert(place, made.clone());
                made
            }
        }?;
        let outcome = run(&*version, &message).await;
        let (verdict, failure) = match outcome {
            Ok(verdict) => (Some(verdict), None),
            Err(failure) => (None, Some(failure)),
        };
        let (plugin, version) = (version.run().plugin.clone(), version.run().version.clone());
        let reason = failure.as_ref().map(|failure| failure.code.name().to_owned());
        let error = failure.map(|failure| failure.text);
        let address = found.address.to_string();
        Ok(LetterTrial { address, plugin, version, verdict, reason, error })
    }
}

/// One call on an instance that no other message meets.
async fn run(version: &dyn StageVersion, message: &Batch) -> Result<ShownVerdict, StageFailure> {
    let mut instance = version.instantiate().await?;
    let output = instance.process(message).await?;
    let folded = fold(message, &output, version.output_limits(), Limits::default());
    let folded = folded.map_err(|error| {
        let (code, text) = (error.code(), error.to_string());
        StageFailure { code, text }
    })?;
    let view = message.get(0).map(|view| shown_verdict(0, view, &output, &folded));
    Ok(view.unwrap_or(ShownVerdict::Drop))
}
