//! Topics with places for a payload's values.

use waypost_sdk::{
    check_topic,
    json::{Document, Found, Pointer, Template},
    prelude::*,
};

/// A template whose texts are topics, whatever levels stand in its places.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TopicTemplate(Template);

impl TopicTemplate {
    /// The places whose values it takes.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.0.pointers()
    }

    /// The topic for a payload.
    ///
    /// # Errors
    ///
    /// A value is missing or is not a topic's level; the topic is too long.
    pub(crate) fn render(&self, document: &impl Document) -> Result<String> {
        let topic = self.0.render_checked(document, check_level)?;
        match check_topic(topic.as_bytes()) {
            Ok(_) => Ok(topic),
            Err(error) => Err(Error::from(error).context(format_args!("the topic `{topic}`"))),
        }
    }
}

fn check_level(value: &str) -> Result<()> {
    match check_topic(value.as_bytes()) {
        Ok(level) if !level.contains(['.', '$']) => Ok(()),
        _ => Err(Error::msg(format_args!(
            "`{value}` cannot be a level of a topic, which is made of A-Z a-z 0-9 _ -"
        ))),
    }
}

impl TryFrom<String> for TopicTemplate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        if text.starts_with('$') {
            return Err(Error::msg(format_args!(
                "`{text}` begins with `$`: such topics belong to the router, choose another"
            )));
        }
        let template = Self(Template::parse(&text)?);
        match template.render(&Sample) {
            Ok(_) => Ok(template),
            Err(error) => Err(error.context(format_args!(
                "`{text}` does not make a topic, not even with a level `x`"
            ))),
        }
    }
}

/// A document with the shortest level everywhere.
struct Sample;

impl Document for Sample {
    fn at(&self, _: &Pointer) -> Option<Found<'_>> {
        Some(Found::Text("x".into()))
    }
}
