//! `route-content`: gives a message the topic of the first rule that its JSON payload meets.
//!
//! All rules are tried on one pass over the payload, without a tree; README.md has the configuration.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;
mod topic;

use waypost_sdk::{
    json::{Condition, Pointers},
    prelude::*,
};

use crate::topic::TopicTemplate;

/// The stage's configuration.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    rules: Vec<Rule>,
    otherwise: Option<TopicTemplate>,
    /// Where any of them looks.
    pointers: Pointers,
}

/// The topic of what meets a condition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    when: Condition,
    topic: TopicTemplate,
}

/// The configuration as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rule: Vec<Rule>,
    otherwise: Option<TopicTemplate>,
}

impl TryFrom<Written> for Config {
    type Error = Error;

    fn try_from(Written { rule: rules, otherwise }: Written) -> Result<Self> {
        if rules.is_empty() {
            return Err(Error::msg(
                "there is no `[[rule]]`: add one, or set the route's `to` for a topic that never changes",
            ));
        }
        let conditions = rules.iter().map(|rule| rule.when.pointer());
        let topics = rules.iter().map(|rule| &rule.topic).chain(&otherwise);
        let pointers = Pointers::new(conditions.chain(topics.flat_map(TopicTemplate::pointers)));
        Ok(Self { rules, otherwise, pointers })
    }
}

/// The first rule's topic. A message that meets none goes to `otherwise`; without one it is an error,
/// so that nothing is lost silently.
#[router(name = "route-content", reads(payloads))]
pub fn route_content(message: &Message, config: &Config) -> Result<String> {
    let payload = config.pointers.read(message.payload())?;
    let rule = config.rules.iter().find(|rule| rule.when.holds(&payload));
    match rule.map(|rule| &rule.topic).or(config.otherwise.as_ref()) {
        Some(topic) => topic.render(&payload),
        None => Err(Error::msg("the message meets no rule, and there is no `otherwise` topic")),
    }
}
