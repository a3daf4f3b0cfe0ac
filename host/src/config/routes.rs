//! The routes of a configuration and their stages.

use std::num::NonZeroU16;

use serde_json::{Map, Number};
use toml::de::{DeTable, DeValue};
use waypost_core::{
    BatchPolicy, BreakerPolicy, Destination, NameError, PluginName, RetryPolicy, RouteDefinition,
    RouteName, RouteStart, StageDefinition, StageName,
};
use waypost_protocol::{MAX_BATCH_MESSAGES, MAX_FRAME_BYTES, Pattern, Topic};

use super::{key::Kind, scalar::Complaint, section::Section, value::Raw};

/// A lane joins batches up to this. The protocol's own limit counts what each message may add to a
/// batch, 25 bytes for each of the most messages, and must never be met.
const MAX_JOINED_BYTES: u32 = MAX_FRAME_BYTES - (1 << 20);
/// A minute: a message that lingers longer is not batched but parked.
const LONGEST_LINGER_MS: u32 = 60_000;
/// An hour: whoever mends a plugin deploys it, which closes the breaker at once.
const LONGEST_OPEN_MS: u32 = 3_600_000;
/// A day: what waits longer in memory is better published again.
const LONGEST_RETRY_MS: u32 = 86_400_000;

/// A route as far as its keys, one by one, are right.
#[derive(Debug)]
pub(super) struct DraftRoute {
    /// `route[0]`.
    pub(super) path: String,
    pub(super) name: Option<RouteName>,
    /// What can be checked against the other routes; missing when it has no name or no source.
    pub(super) definition: Option<RouteDefinition>,
    /// Its destination or a stage is wrong, so that nothing follows from it having none.
    pub(super) is_incomplete: bool,
    /// The paths of the stages in its definition.
    pub(super) stages: Vec<String>,
    /// The plugins that its stages name, with the path of the key that does.
    pub(super) plugins: Vec<(PluginName, String)>,
}

/// Reads one route.
pub(super) fn read_route(section: &mut Section<'_, '_>) -> DraftRoute {
    let name = section.required("name", Kind::Name, |text| named(RouteName::parse(text)));
    let source = section.required("from", Kind::Pattern, |text| {
        let pattern = Pattern::parse(text);
        match pattern.map_err(|error| Complaint::from_error("not a pattern", &error))? {
            _ if text.starts_with('$') && !text.starts_with("$dead.") => {
                Err(Complaint::new("which no route sees")
                    .with_hint("take $dead.<route>, or a pattern that does not begin with $"))
            }
            pattern => Ok(pattern),
        }
    });
    let topic = section.optional("to", Kind::Topic, "as the stages say", |text| {
        let topic = Topic::parse(text);
        match topic.map_err(|error| Complaint::from_error("not a topic", &error))? {
            topic if topic.is_system() => Err(Complaint::new("which belongs to the router")
                .with_hint("choose a topic that does not begin with $")),
            topic => Ok(topic),
        }
    });
    let start = section.text("start", Kind::Start, RouteStart::default(), |text| {
        RouteStart::parse(text).ok_or_else(|| Complaint::new("which is no start"))
    });
    let lanes = section.integer("lanes", 1, 1..=1024);
    let batch = section.section("batch", batch);
    let breaker = section.section("breaker", breaker);
    let retry = section.section("retry", retry);
    let stages = section.sections("stage", read_stage);

    let broken_topic = topic.is_none() && section.reader.is_set(&section.path_of("to"));
    let is_incomplete = broken_topic || stages.iter().any(|stage| stage.definition.is_none());
    let plugins = stages.iter().filter_map(|stage| stage.plugin.clone()).collect();
    let stages = stages.into_iter().filter_map(|stage| Some((stage.definition?, stage.path)));
    let (stages, stage_paths) = stages.unzip();
    let definition = name.clone().zip(source).map(|(name, source)| RouteDefinition {
        name,
        source,
        start,
        stages,
        destination: topic.map_or(Destination::FromPlugin, Destination::Topic),
        lanes: NonZeroU16::new(lanes).unwrap_or(NonZeroU16::MIN),
        batch,
        breaker,
        retry,
    });
    let path = section.path.clone();
    DraftRoute { path, name, definition, is_incomplete, stages: stage_paths, plugins }
}

fn batch(section: &mut Section<'_, '_>) -> BatchPolicy {
    let default = BatchPolicy::default();
    BatchPolicy {
        max_messages: section.integer("max_messages", default.max_messages, 1..=MAX_BATCH_MESSAGES),
        max_bytes: section.integer("max_bytes", default.max_bytes, 1024..=MAX_JOINED_BYTES),
        linger_ms: section.integer("linger_ms", default.linger_ms, 0..=LONGEST_LINGER_MS),
    }
}

fn breaker(section: &mut Section<'_, '_>) -> BreakerPolicy {
    let default = BreakerPolicy::default();
    BreakerPolicy {
        failures: section.integer("failures", default.failures, 1..=1000),
        failed_calls: section.integer("failed_calls", default.failed_calls, 1..=10_000),
        open_ms: section.integer("open_ms", default.open_ms, 1..=LONGEST_OPEN_MS),
        max_open_ms: section.integer("max_open_ms", default.max_open_ms, 1..=LONGEST_OPEN_MS),
    }
}

fn retry(section: &mut Section<'_, '_>) -> RetryPolicy {
    let default = RetryPolicy::default();
    RetryPolicy {
        attempts: section.integer("attempts", default.attempts, 1..=1000),
        first_ms: section.integer("first_ms", default.first_ms, 0..=LONGEST_RETRY_MS),
        max_ms: section.integer("max_ms", default.max_ms, 0..=LONGEST_RETRY_MS),
        parked_messages: section.integer("parked_messages", default.parked_messages, 1..=1_000_000),
        parked_bytes: section.integer("parked_bytes", default.parked_bytes, 1024..=1 << 30),
    }
}

struct DraftStage {
    path: String,
    definition: Option<StageDefinition>,
    plugin: Option<(PluginName, String)>,
}

fn read_stage(section: &mut Section<'_, '_>) -> DraftStage {
    let name =
        section.optional("name", Kind::Name, "the plugin's", |text| named(StageName::parse(text)));
    let plugin = section.required("plugin", Kind::Name, |text| named(PluginName::parse(text)));
    let configuration = configuration(section);
    let name = match name {
        None if section.reader.is_set(&section.path_of("name")) => None,
        // Both kinds of name have one grammar.
        None => plugin.as_ref().and_then(|plugin| StageName::parse(plugin.as_str()).ok()),
        name => name,
    };
    let plugin_path = section.path_of("plugin");
    let definition = name
        .zip(plugin.clone())
        .zip(configuration)
        .map(|((name, plugin), configuration)| StageDefinition { name, plugin, configuration });
    let plugin = plugin.map(|plugin| (plugin, plugin_path));
    DraftStage { path: section.path.clone(), definition, plugin }
}

fn named<T>(parsed: Result<T, NameError>) -> Result<T, Complaint> {
    parsed.map_err(|_| Complaint::new("which is no name"))
}

/// A stage's own configuration, as JSON text.
fn configuration(section: &mut Section<'_, '_>) -> Option<String> {
    let key = section.key("config", Kind::Table, "{}", "");
    let Some((raw, place)) = section.find("config", key) else {
        return Some("{}".to_owned());
    };
    let Raw::Toml(DeValue::Table(table)) = raw else {
        section.complain("config", place, &raw, "not a table", Kind::Table.hint());
        return None;
    };
    let held = toml_table(table);
    section.hold("config", held, place);
    Some(serde_json::Value::Object(json_table(table, section)?).to_string())
}

fn toml_table(table: &DeTable<'_>) -> toml::Table {
    let entries = table.iter();
    entries.map(|(key, value)| (key.get_ref().to_string(), toml_value(value.get_ref()))).collect()
}

/// A value as it was read; a number that TOML cannot hold is text here, and an error elsewhere.
fn toml_value(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(integer) => match Raw::Toml(value).integer().map(i64::try_from) {
            Some(Ok(integer)) => toml::Value::Integer(integer),
            _ => toml::Value::String(integer.to_string()),
        },
        DeValue::Float(float) => toml::Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => toml::Value::Boolean(*boolean),
        DeValue::Datetime(datetime) => toml::Value::Datetime(*datetime),
        DeValue::Array(values) => {
            toml::Value::Array(values.iter().map(|value| toml_value(value.get_ref())).collect())
        }
        DeValue::Table(table) => toml::Value::Table(toml_table(table)),
    }
}

fn json_table(
    table: &DeTable<'_>,
    section: &mut Section<'_, '_>,
) -> Option<Map<String, serde_json::Value>> {
    let mut is_whole = true;
    let mut json = Map::new();
    for (key, value) in table {
        match json_value(value, section) {
            Some(value) => {
                json.insert(key.get_ref().to_string(), value);
            }
            None => is_whole = false,
        }
    }
    is_whole.then_some(json)
}

/// A value as JSON; a date becomes text. Numbers that JSON or its readers lack are reported.
fn json_value(
    value: &toml::Spanned<DeValue<'_>>,
    section: &mut Section<'_, '_>,
) -> Option<serde_json::Value> {
    let number = match value.get_ref() {
        DeValue::String(text) => return Some(serde_json::Value::String(text.to_string())),
        DeValue::Boolean(boolean) => return Some(serde_json::Value::Bool(*boolean)),
        DeValue::Datetime(datetime) => {
            return Some(serde_json::Value::String(datetime.to_string()));
        }
        DeValue::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| json_value(value, section)).collect();
            return values.into_iter().collect::<Option<Vec<_>>>().map(serde_json::Value::Array);
        }
        DeValue::Table(table) => return json_table(table, section).map(serde_json::Value::Object),
        DeValue::Integer(_) => {
            let integer = Raw::Toml(value.get_ref()).integer();
            integer.and_then(|integer| i64::try_from(integer).ok()).map(Number::from)
        }
        DeValue::Float(float) => float.as_str().parse().ok().and_then(Number::from_f64),
    };
    if number.is_none() {
        let place = section.reader.file_place(value.span());
        let shown = Raw::Toml(value.get_ref()).shown();
        let message = format!("{shown} is no number that a plugin's configuration can hold");
        section.reader.error(place, message, "write a finite number of 64 bits, or text in quotes");
    }
    number.map(serde_json::Value::Number)
}
