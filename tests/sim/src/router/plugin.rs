//! The two plugins of the route: pure functions of a message, but for those that chance lets try again.

use waypost_core::{
    Change, ChangeColumn, Emitted, Folded, OutputLimits, StageOutput, Verdict, fold,
};
use waypost_protocol::{Batch, Limits};

use crate::{
    message::{Content, Fate},
    random::Random,
};

/// Messages that a plugin may make of one.
pub(crate) const MOST_EMITTED: u32 = 4;
/// How often of a thousand a flaky message is to be tried again.
const FLAKY: u64 = 600;

/// Calls a stage. `Err` is a plugin that failed on the batch as a whole.
pub(crate) fn call(stage: usize, batch: &Batch, random: &mut Random) -> Result<Folded, String> {
    let mut output = StageOutput::default();
    let mut emitted = Vec::new();
    for (index, message) in (0_u32..).zip(batch.iter()) {
        let content = Content::read(message).ok_or("not a message of a publisher")?;
        let verdict = match (stage, content.fate) {
            (0, Fate::Poison) => return Err(format!("poison: {content:?}")),
            (0, Fate::Drop) => Verdict::Drop,
            (0, Fate::Flaky) if random.chance(FLAKY) => Verdict::Retry(0),
            (0, Fate::Emit(count) | Fate::EmitFlaky(count)) => {
                emitted.extend((0..count).map(|part| (index, Content { part, ..content })));
                Verdict::Emit(count.into())
            }
            (1, Fate::Reject) => Verdict::Reject("it is rejected".to_owned()),
            (1, Fate::Flaky | Fate::EmitFlaky(_)) if random.chance(FLAKY) => {
                Verdict::Retry(random.within(0..30))
            }
            _ => Verdict::Forward,
        };
        output.verdicts.push(verdict);
    }
    if !emitted.is_empty() {
        output.emitted = Some(columns(&emitted));
    }
    let allowed = OutputLimits { max_emitted_per_message: MOST_EMITTED };
    fold(batch, &output, allowed, Limits::default()).map_err(|error| error.to_string())
}

/// Emitted messages that have another payload than their sources.
fn columns(emitted: &[(u32, Content)]) -> Emitted {
    let (mut ends, mut bytes) = (vec![0], Vec::new());
    for (_, content) in emitted {
        bytes.extend(content.payload());
        ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    let changes = vec![Change::Set; emitted.len()];
    Emitted {
        sources: emitted.iter().map(|(source, _)| *source).collect(),
        payloads: Some(ChangeColumn { changes, ends, bytes }),
        ..Emitted::default()
    }
}
