//! The topics of a configuration that have rules of their own.

use std::time::Duration;

use waypost_core::{OnFull, TopicRule, TopicRules};
use waypost_protocol::{Pattern, TimeToLive};

use super::{key::Kind, reader::Reader, scalar::Complaint, section::Section, sections::LONGEST_MS};

const BLOCK_MAX: &str = "block_max_ms";

/// A rule as far as its keys, one by one, are right.
#[derive(Debug)]
pub(super) struct DraftTopic {
    /// `topic[0]`.
    pub(super) path: String,
    /// Missing when its pattern is wrong.
    pub(super) rule: Option<TopicRule>,
}

/// Reads one topic table; `block_max` is what holds where it says nothing.
pub(super) fn read_topic(section: &mut Section<'_, '_>, block_max: Duration) -> DraftTopic {
    let pattern = section.required("pattern", Kind::Pattern, |text| {
        Pattern::parse(text).map_err(|error| Complaint::from_error("not a pattern", &error))
    });
    let on_full = section.text("on_full", Kind::OnFull, OnFull::Block, |text| {
        OnFull::parse(text).ok_or_else(|| Complaint::new("which is no policy"))
    });
    let default = u64::try_from(block_max.as_millis()).unwrap_or(LONGEST_MS);
    let block_max_ms = match on_full {
        OnFull::Block => section.integer(BLOCK_MAX, default, 1..=LONGEST_MS),
        OnFull::DropNewest | OnFull::DropOldest => {
            warn_of_block_max(section, on_full);
            default
        }
    };
    let ttl = time_to_live(section);
    let rule = pattern.map(|pattern| TopicRule { pattern, on_full, block_max_ms, ttl });
    DraftTopic { path: section.path.clone(), rule }
}

/// How long messages live that do not say so themselves; nothing would be delivered at zero, so that it can say that
/// there is no end.
pub(super) fn time_to_live(section: &mut Section<'_, '_>) -> Option<TimeToLive> {
    TimeToLive::from_ms(section.integer("ttl_ms", 0, 0..=TimeToLive::MAX.ms())).ok()
}

/// What is dropped waits for nobody.
fn warn_of_block_max(section: &mut Section<'_, '_>, on_full: OnFull) {
    section.known.push(BLOCK_MAX);
    if let Some(value) = section.value(BLOCK_MAX) {
        let place = section.reader.file_place(value.span());
        let message = format!("topic.{BLOCK_MAX} means nothing beside on_full = \"{on_full}\"");
        section.reader.warning(place, message, "remove it: such messages wait for nobody");
    }
}

/// Warns of rules that can never hold.
pub(super) fn check_topics(drafts: &[DraftTopic], reader: &mut Reader<'_>) {
    let whole = drafts.iter().filter_map(|draft| Some((&draft.path, draft.rule.clone()?)));
    let (paths, rules): (Vec<_>, Vec<_>) = whole.unzip();
    let rules = TopicRules::new(rules);
    for (shadowed, cover) in rules.shadowed() {
        let (Some(path), Some(rule), Some(cover)) =
            (paths.get(shadowed), rules.all().get(shadowed), rules.all().get(cover))
        else {
            continue;
        };
        let place = reader.place(&format!("{path}.pattern"));
        let message = format!(
            "this table never holds: an earlier one takes {}, which covers {}",
            cover.pattern, rule.pattern
        );
        reader.warning(place, message, "put the narrower pattern first, or remove this table");
    }
}
