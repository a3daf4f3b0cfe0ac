//! Letters back to the stage that failed: the lane of the route parks them in the write in which they leave.

use std::collections::BTreeMap;

use tokio::time::Instant;
use waypost_core::{Giver, LETTER_TOPICS, Partition, RouteName, StageName, Trace};
use waypost_storage::Unit;

use super::{
    Dlq, DlqError,
    replay::{LONGEST, Replayed, TOO_LATE},
    scan::Found,
};
use crate::router::{ReturnError, Returned, ReturnedMessage};

/// Letters of one lane that go back to it at once.
const AT_ONCE: usize = 250;

/// The lane that a letter goes back to.
type Lane = (RouteName, Partition);

impl Dlq {
    pub(super) async fn to_stage(&self, letters: Vec<Found>) -> Replayed {
        let mut done = Replayed::default();
        let mut lanes: BTreeMap<Lane, Vec<(Found, ReturnedMessage)>> = BTreeMap::new();
        for found in letters {
            match self.way_back(&found) {
                Ok((lane, message)) => lanes.entry(lane).or_default().push((found, message)),
                Err(why) => done.refuse(&found.address, why),
            }
        }
        let end = Instant::now() + LONGEST;
        for (lane, mut letters) in lanes {
            while !letters.is_empty() {
                let rest = letters.split_off(letters.len().min(AT_ONCE));
                let (found, messages): (Vec<_>, Vec<_>) = letters.into_iter().unzip();
                letters = rest;
                if Instant::now() > end {
                    found.iter().for_each(|each| done.refuse(&each.address, TOO_LATE));
                    continue;
                }
                let failed = match self.hand_back(&lane, &found, messages).await {
                    Ok(Ok(())) => {
                        done.letters.extend(found);
                        continue;
                    }
                    Ok(Err(ReturnError::Unknown)) => self.look_up(found, &mut done).await.err(),
                    Ok(Err(error)) => {
                        found.iter().for_each(|each| done.refuse(&each.address, error.to_string()));
                        None
                    }
                    Err(error) => Some((found, error)),
                };
                if let Some((found, error)) = failed {
                    done.fail(&found, error);
                }
            }
        }
        done
    }

    /// Lets the lane store letters' messages, and with them that the letters have left.
    async fn hand_back(
        &self,
        (route, partition): &Lane,
        letters: &[Found],
        messages: Vec<ReturnedMessage>,
    ) -> Result<Result<(), ReturnError>, DlqError> {
        // Each commit moves what is kept of letters that have left.
        let settled = self.settled().await?;
        let steps = self.steps(letters, &settled)?;
        Ok(self.0.router.take_back(route, partition, Returned { messages, steps }).await)
    }

    /// Finds out which of these letters have left.
    async fn look_up(
        &self,
        letters: Vec<Found>,
        done: &mut Replayed,
    ) -> Result<(), (Vec<Found>, DlqError)> {
        let now = async {
            // Whatever is on its way into storage is there, or not at all, once this is answered.
            self.0.streams.storage().commit(Unit::default()).await?;
            self.settled().await
        };
        let now = match now.await {
            Ok(now) => now,
            Err(error) => return Err((letters, error)),
        };
        for each in letters {
            match now.of(&each.address.partition).1.has(each.address.offset) {
                true => done.letters.push(each),
                false => done.refuse(&each.address, ReturnError::Gone.to_string()),
            }
        }
        Ok(())
    }

    /// The lane of a letter, and the message as it is to be tried there; or why there is no way back.
    pub(super) fn way_back(&self, found: &Found) -> Result<(Lane, ReturnedMessage), String> {
        let letter = found.letter().ok_or("it is no letter")?;
        let Giver::Route(route) = letter.giver else {
            return Err("a group gave up on it, which has no stages; replay it --to origin".into());
        };
        let Some(stage) = letter.stage else {
            let why = format!("it failed behind all stages of {route}; replay it --to origin");
            return Err(why);
        };
        let Some((partition, offset)) = letter.source.clone() else {
            return Err(format!(
                "the route {route} took it from a memory topic, whose lanes take nothing back; replay it --to origin"
            ));
        };
        let names = RouteName::parse(route).ok().zip(StageName::parse(stage).ok());
        let (route, stage) = names.ok_or("the names of its route and stage are none")?;
        let Some(plan) = self.0.router.plans().of(&route) else {
            return Err(format!("there is no route {route} any more; replay it --to origin"));
        };
        let definition = plan.definition.stages.iter().find(|known| known.name == stage);
        let Some(definition) = definition else {
            return Err(ReturnError::NoStage { route, stage }.to_string());
        };
        if let Some(before) = found.plugin.as_ref().filter(|it| **it != definition.plugin.as_str())
        {
            return Err(format!(
                "the stage {stage} of {route} runs the plugin {} now, and it failed in {before}; replay it --to origin",
                definition.plugin
            ));
        }
        self.0.router.takes_back(&route, &partition).map_err(|error| error.to_string())?;
        let message = letter.message().map_err(|error| error.to_string())?;
        let trace = Trace::tried_again(offset, &found.address);
        let is_letter = letter.topic.starts_with(LETTER_TOPICS);
        Ok(((route, partition), ReturnedMessage { stage, trace, is_letter, message }))
    }
}
