//! The log: lines for people on a terminal, JSON with the field names of the Elastic Common Schema
//! elsewhere; always on the standard error.
//!
//! A JSON line has `@timestamp`, `log.level`, `log.logger`, `message`, `ecs.version` and `service.name`.
//! What an event says beside its message stands under `labels`, so that no name of ours can meet one of
//! the schema's; an `error` is `error.message`, as the schema wants it. Fields of the spans around an
//! event stand under `waypost.span`.

use std::{
    fmt,
    io::{self, IsTerminal as _},
};

use json_subscriber::JsonLayer;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{
        MakeWriter,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The version of the schema whose names we use.
const ECS_VERSION: &str = "8.11.0";
/// What is logged unless somebody says otherwise.
const DEFAULT_FILTER: &str = "info";

/// How to log. Nothing here is read from the environment: the caller passes what it says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether lines are JSON; without a word, they are unless the standard error is a terminal.
    pub json: Option<bool>,
    /// What `RUST_LOG` says: `debug`, `waypost=debug,quinn=warn`. Without it, `info`.
    pub filter: Option<String>,
    /// Whether `NO_COLOR` is set to anything but nothing.
    pub no_color: bool,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is none.
    #[error(
        "RUST_LOG is {text:?}, which is no filter: {source}; write a level, or target=level with \
         commas between"
    )]
    Filter {
        /// What it says.
        text: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is a log already.
    #[error("the log was started before; start it once, in the binary: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log of this process. What `writer` makes writes to the standard error.
///
/// # Errors
///
/// A filter that is none; a log that was started before.
pub fn init<W>(options: &Options, writer: W) -> Result<(), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let terminal = io::stderr().is_terminal();
    subscriber(options, terminal, writer, SystemTime)?.try_init()?;
    Ok(())
}

fn subscriber<W, T>(
    options: &Options,
    terminal: bool,
    writer: W,
    timer: T,
) -> Result<impl Subscriber + Send + Sync, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    T: FormatTime + Send + Sync + 'static,
{
    let filter = filter(options)?;
    let layer: Box<dyn Layer<Registry> + Send + Sync> = if options.json.unwrap_or(!terminal) {
        Box::new(ecs(writer, timer))
    } else {
        let layer = tracing_subscriber::fmt::layer().compact();
        let colour = terminal && !options.no_color;
        Box::new(layer.with_writer(writer).with_timer(timer).with_ansi(colour))
    };
    Ok(tracing_subscriber::registry().with(layer).with(filter))
}

fn filter(options: &Options) -> Result<EnvFilter, LoggingError> {
    let text = options.filter.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let text = text.unwrap_or(DEFAULT_FILTER);
    EnvFilter::builder()
        .parse(text)
        .map_err(|source| LoggingError::Filter { text: text.to_owned(), source })
}

fn ecs<W, T>(writer: W, timer: T) -> JsonLayer<Registry, W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    T: FormatTime + Send + Sync + 'static,
{
    let mut layer = JsonLayer::new(writer);
    layer.with_timer("@timestamp", timer);
    layer.with_level("log.level");
    layer.with_target("log.logger");
    layer.with_flattened_span_fields("waypost.span");
    layer.add_static_field("ecs.version", ECS_VERSION.into());
    layer.add_static_field("service.name", "waypost".into());
    layer.add_multiple_dynamic_fields(|event: &Event<'_>, _, writer| {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // A text, a number and a map of these are always JSON.
        let _ = writer.write_field("message", fields.message);
        if let Some(error) = fields.error {
            let _ = writer.write_field("error.message", error);
        }
        if !fields.labels.is_empty() {
            let _ = writer.write_field("labels", fields.labels);
        }
    });
    layer
}

/// An event's fields by where they belong.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    error: Option<String>,
    labels: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match field.name() {
            "message" => self.message = text(value),
            "error" => self.error = Some(text(value)),
            name => {
                self.labels.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// Keeps what is logged.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `log` runs.
    fn logged(options: &Options, terminal: bool, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(options, terminal, move || writer.clone(), SystemTime)
            .expect("the filter is sound");
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).expect("logs are UTF-8")
    }

    #[test]
    fn away_from_a_terminal_a_line_is_json_with_the_schemas_names() {
        let error = io::Error::other("disk");
        let text = logged(&Options::default(), false, || {
            let span = tracing::info_span!("lane", route = "quakes");
            let _entered = span.enter();
            tracing::warn!(%error, wanted = 4, source = "x", "it \"failed\"\n{}", 1);
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).expect("it is JSON");
        let timestamp = line.as_object_mut().and_then(|line| line.remove("@timestamp"));
        assert!(timestamp.is_some_and(|at| at.as_str().is_some_and(|at| at.ends_with('Z'))));
        let expected = serde_json::json!({
            "log.level": "WARN",
            "log.logger": module_path!(),
            "message": "it \"failed\"\n1",
            "error.message": "disk",
            "labels": { "wanted": 4, "source": "x" },
            "ecs.version": ECS_VERSION,
            "service.name": "waypost",
            "waypost.span": { "name": "lane", "route": "quakes" },
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn on_a_terminal_a_line_is_for_people_and_coloured_unless_unwanted() {
        let log = || tracing::info!(wanted = 4, "it works");
        let plain = Options { no_color: true, ..Options::default() };
        let text = logged(&plain, true, log);
        assert!(text.contains(" INFO ") && text.ends_with("it works wanted=4\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(logged(&Options::default(), true, log).contains('\u{1b}'));
    }

    #[test]
    fn the_form_can_be_chosen_either_way() {
        let log = || tracing::info!("x");
        let json = |json| Options { json: Some(json), ..Options::default() };
        assert!(logged(&json(true), true, log).starts_with('{'));
        let human = logged(&json(false), false, log);
        assert!(!human.starts_with('{') && !human.contains('\u{1b}'), "{human}");
    }

    #[test]
    fn the_filter_decides_what_is_logged_and_is_info_without_a_word() {
        let log = || {
            tracing::debug!("one");
            tracing::info!("two");
        };
        for (filter, lines) in [(None, 1), (Some("debug"), 2), (Some(""), 1), (Some("error"), 0)] {
            let options = Options { filter: filter.map(str::to_owned), ..Options::default() };
            assert_eq!(logged(&options, false, log).lines().count(), lines, "{filter:?}");
        }
    }

    #[test]
    fn a_filter_that_is_none_is_said() {
        let options = Options { filter: Some("=loud,".into()), ..Options::default() };
        let error = filter(&options).expect_err("it is none");
        assert!(
            error.to_string().starts_with("RUST_LOG is \"=loud,\", which is no filter"),
            "{error}"
        );
    }
}
