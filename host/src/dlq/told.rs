//! What operators ask of letters, and what they are told.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waypost_core::{Giver, Letter, LetterAddress};

use crate::router::{ShownHeader, ShownKey, ShownPayload};

/// What is shown of an error in a list, in characters.
const ERROR_CHARACTERS: usize = 200;

/// Which letters are wanted; everything that is not said is open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// The stream that keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    /// The route that gave up on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<String>,
    /// The group that gave up on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// The code of the reason, such as `PLUGIN_TRAP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// They failed last at this time or later, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since_ms: Option<u64>,
    /// They failed last before this time; where letters are to leave, by default before the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until_ms: Option<u64>,
    /// Where to go on: the `next` of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// How many at most, 1 to 1000; 100 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u32>,
}

/// Letters by their addresses, or by what they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LetterSelection {
    /// Their addresses, as `STREAM/PARTITION/OFFSET`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) letters: Vec<String>,
    /// What they are, where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<Wanted>,
}

/// A letter in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterSummary {
    /// Where it stands, as `STREAM/PARTITION/OFFSET`.
    pub(crate) address: String,
    /// When it failed last, in milliseconds since the Unix epoch.
    pub(crate) failed_ms: u64,
    /// The route that gave up on it.
    pub(crate) route: Option<String>,
    /// The group that gave up on it.
    pub(crate) group: Option<String>,
    /// The stage that it failed in.
    pub(crate) stage: Option<String>,
    /// The reason as a code.
    pub(crate) reason: String,
    /// The reason in words; in a list its beginning.
    pub(crate) error: String,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// The topic that it had when it failed.
    pub(crate) topic: String,
}

/// Letters in the order of their streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterPage {
    /// The letters.
    pub(crate) letters: Vec<LetterSummary>,
    /// Where to go on; nothing when there are no more.
    pub(crate) next: Option<String>,
    /// They failed before this time, if one was said.
    pub(crate) until_ms: Option<u64>,
    /// Messages that are damaged and were passed over.
    pub(crate) damaged: u64,
    /// The routes whose letters no stream keeps.
    pub(crate) not_kept: Vec<String>,
}

/// A letter whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterDetails {
    /// What a list has of it, with the whole error.
    #[serde(flatten)]
    pub(crate) letter: LetterSummary,
    /// When the publisher made the message.
    pub(crate) created_ms: u64,
    /// When it failed first.
    pub(crate) first_failure_ms: u64,
    /// Where the message stands that it comes of, as `STREAM/PARTITION/OFFSET`, if a stream was the source.
    pub(crate) source: Option<String>,
    /// The plugin of the stage.
    pub(crate) plugin: Option<String>,
    /// SHA-256 of its artefact.
    pub(crate) plugin_digest: Option<String>,
    /// The message's key.
    #[serde(flatten)]
    pub(crate) key: Option<ShownKey>,
    /// The message's own headers.
    pub(crate) headers: Vec<ShownHeader>,
    /// The message's payload.
    #[serde(flatten)]
    pub(crate) payload: ShownPayload,
    /// How many bytes it has.
    pub(crate) payload_bytes: usize,
}

/// How many letters there are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterCount {
    /// The route that gave up on them.
    pub(crate) route: Option<String>,
    /// The group that gave up on them.
    pub(crate) group: Option<String>,
    /// The reason as a code.
    pub(crate) reason: String,
    /// How many.
    pub(crate) letters: u64,
    /// When the first of them failed last, in milliseconds since the Unix epoch.
    pub(crate) oldest_ms: u64,
    /// When the last of them did.
    pub(crate) newest_ms: u64,
}

/// Letters counted by who gave up on them and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterCounts {
    /// The counts.
    pub(crate) counts: Vec<LetterCount>,
    /// Where to go on; nothing when all are counted.
    pub(crate) next: Option<String>,
    /// They failed before this time, if one was said.
    pub(crate) until_ms: Option<u64>,
    /// Messages that are damaged and were passed over.
    pub(crate) damaged: u64,
    /// The routes whose letters no stream keeps.
    pub(crate) not_kept: Vec<String>,
}

/// What left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct LettersLeft {
    /// How many letters left, or would.
    pub(crate) letters: u64,
    /// Where to go on; nothing when there are no more.
    pub(crate) next: Option<String>,
    /// They failed before this time.
    pub(crate) until_ms: u64,
    /// Those that stay, and why.
    pub(crate) refused: Vec<RefusedLetter>,
}

/// A letter that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct RefusedLetter {
    /// Where it stands.
    pub(crate) address: String,
    /// Why it stays, and what to do.
    pub(crate) error: String,
}

impl LetterSummary {
    /// A line of a list.
    pub(super) fn of(address: &LetterAddress, letter: &Letter<'_>) -> Self {
        let error = letter.error.chars().take(ERROR_CHARACTERS).collect();
        Self { error, ..Self::whole(address, letter) }
    }

    fn whole(address: &LetterAddress, letter: &Letter<'_>) -> Self {
        let (route, group) = names(letter.giver);
        Self {
            address: address.to_string(),
            failed_ms: letter.last_failure_ms,
            route,
            group,
            stage: letter.stage.map(str::to_owned),
            reason: letter.reason.to_owned(),
            error: letter.error.to_owned(),
            attempts: letter.attempts,
            topic: letter.topic.to_owned(),
        }
    }
}

impl LetterDetails {
    pub(super) fn of(address: &LetterAddress, letter: &Letter<'_>, plugin: Option<String>) -> Self {
        let source = letter.source.clone();
        let source = source.map(|(partition, offset)| LetterAddress { partition, offset });
        Self {
            letter: LetterSummary::whole(address, letter),
            created_ms: letter.created_ms,
            first_failure_ms: letter.first_failure_ms,
            source: source.map(|source| source.to_string()),
            plugin,
            plugin_digest: letter.plugin_digest.map(str::to_owned),
            key: letter.key().map(ShownKey::whole),
            headers: letter.headers.iter().map(ShownHeader::whole).collect(),
            payload: ShownPayload::whole(letter.payload()),
            payload_bytes: letter.payload().len(),
        }
    }
}

impl LetterCount {
    /// Of the first letter of its kind.
    pub(super) fn of(letter: &Letter<'_>) -> Self {
        let (route, group) = names(letter.giver);
        let (oldest_ms, newest_ms) = (letter.last_failure_ms, letter.last_failure_ms);
        Self { route, group, reason: letter.reason.to_owned(), letters: 0, oldest_ms, newest_ms }
    }

    /// Adds those of a count of the same kind.
    pub(crate) fn add(&mut self, other: &Self) {
        self.letters += other.letters;
        self.oldest_ms = self.oldest_ms.min(other.oldest_ms);
        self.newest_ms = self.newest_ms.max(other.newest_ms);
    }

    /// Whether another count is of the same kind.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.route, &self.group, &self.reason) == (&other.route, &other.group, &other.reason)
    }
}

/// The name of a route or of a group.
fn names(giver: Giver<'_>) -> (Option<String>, Option<String>) {
    match giver {
        Giver::Route(name) => (Some(name.to_owned()), None),
        Giver::Group(name) => (None, Some(name.to_owned())),
    }
}
