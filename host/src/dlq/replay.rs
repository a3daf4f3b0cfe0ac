//! Letters on their way again: to the stage that failed, or to the topic that they were published on.

use serde::{Deserialize, Serialize};
use tokio::time::Duration;
use utoipa::ToSchema;
use waypost_core::LetterAddress;

use super::{
    Dlq, DlqError, LetterSelection, LettersLeft, RefusedLetter, leave::Selected, scan::Found,
};

/// After so long nothing further is begun: whoever asked is answered in time.
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// What is said of letters that it was too late for.
pub(super) const TOO_LATE: &str = "those before it took too long; replay it again";

/// Where letters go.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReplayTo {
    /// To the stage that failed, of a route over streams.
    #[default]
    Stage,
    /// To the topic that they were published on, as they were published.
    Origin,
}

/// What became of the letters of a replay.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) letters: Vec<Found>,
    pub(super) refused: Vec<RefusedLetter>,
    /// The first failure that was not a letter's own.
    failed: Option<DlqError>,
}

impl Replayed {
    pub(super) fn refuse(&mut self, address: &LetterAddress, error: impl Into<String>) {
        self.refused.push(RefusedLetter { address: address.to_string(), error: error.into() });
    }

    /// Storage did not do what these letters needed.
    pub(super) fn fail(&mut self, letters: &[Found], error: DlqError) {
        letters.iter().for_each(|found| self.refuse(&found.address, error.to_string()));
        self.failed.get_or_insert(error);
    }

    /// What is told: a failure alone only where nothing has left, as whoever asked is to know what has.
    fn told(self) -> Result<(Vec<Found>, Vec<RefusedLetter>), DlqError> {
        match self.failed {
            Some(error) if self.letters.is_empty() => Err(error),
            _ => Ok((self.letters, self.refused)),
        }
    }
}

impl ReplayTo {
    fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Origin => "origin",
        }
    }
}

impl Dlq {
    /// Sends letters on their way again; each leaves once that is committed.
    pub(crate) async fn replay(
        &self,
        selection: LetterSelection,
        to: ReplayTo,
        dry_run: bool,
    ) -> Result<LettersLeft, DlqError> {
        let _turn = self.turn().await?;
        let Selected { letters, settled, next, until_ms } = self.select(selection).await?;
        let done = match to {
            _ if dry_run => self.could_go(letters, to).await,
            ReplayTo::Origin => self.to_origin(letters, &settled).await?,
            ReplayTo::Stage => self.to_stage(letters).await,
        };
        let (letters, refused) = done.told()?;
        for Found { address, .. } in letters.iter().filter(|_| !dry_run) {
            let labels = [address.partition.stream.as_str(), to.name()];
            self.0.metrics.replayed.with_label_values(&labels).inc();
        }
        Ok(LettersLeft { letters: letters.len() as u64, next, until_ms, refused })
    }

    /// Those that would go, as far as can be said before.
    async fn could_go(&self, letters: Vec<Found>, to: ReplayTo) -> Replayed {
        let mut done = Replayed::default();
        for found in letters {
            let way = match to {
                ReplayTo::Stage => self.way_back(&found).map(drop),
                ReplayTo::Origin => self.way_out(&found).await.map(drop),
            };
            match way {
                Ok(()) => done.letters.push(found),
                Err(why) => done.refuse(&found.address, why),
            }
        }
        done
    }
}
