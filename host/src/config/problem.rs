//! What is wrong with a configuration: one problem with its place and its hint, and all of them.
//!
//! A problem has a plain form of one line, `file:line:column: message; hint: ...`, and is a
//! [`miette::Diagnostic`] whose label marks the place in the file.

use std::{cmp::Ordering, error::Error, fmt, ops::Range, sync::Arc};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// Beyond so many problems, the rest is counted: nobody reads more in one go.
const MOST_PROBLEMS: usize = 100;

/// A configuration file as it was read.
#[derive(Debug, Clone)]
pub struct Document(Arc<NamedSource<String>>);

impl Document {
    /// A file's name, as reports show it, and its text.
    #[must_use]
    pub fn new(name: &str, text: String) -> Self {
        Self(Arc::new(NamedSource::new(name, text)))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.inner()
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text().get(..offset).unwrap_or(self.text());
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// Where a value came from.
#[derive(Debug, Clone)]
pub enum Place {
    /// These bytes of the file.
    File(Document, Range<usize>),
    /// The file at this path as a whole.
    WholeFile(String),
    /// An environment variable.
    Variable(String),
    /// The flag that set this dotted key.
    Flag(String),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(document, span) => {
                let (line, column) = document.position(span.start);
                write!(formatter, "{}:{line}:{column}", document.name())
            }
            Self::WholeFile(name) => formatter.write_str(name),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(key) => write!(formatter, "flag --set {key}"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

impl Place {
    /// Whether somebody said something.
    pub(super) fn is_set(&self) -> bool {
        !matches!(self, Self::Default)
    }

    /// What it is, as an object; none for a default.
    fn json(&self) -> Value {
        match self {
            Self::File(document, span) => {
                let (line, column) = document.position(span.start);
                json!({ "file": document.name(), "line": line, "column": column })
            }
            Self::WholeFile(name) => json!({ "file": name }),
            Self::Variable(name) => json!({ "variable": name }),
            Self::Flag(key) => json!({ "flag": key }),
            Self::Default => Value::Null,
        }
    }

    /// The file from its top, then the environment, then flags, each in its own order.
    fn order(&self, other: &Self) -> Ordering {
        let rank = |place: &Self| match place {
            Self::WholeFile(_) => (0, 0, String::new()),
            Self::File(_, span) => (1, span.start, String::new()),
            Self::Variable(name) => (2, 0, name.clone()),
            Self::Flag(key) => (3, 0, key.clone()),
            Self::Default => (4, 0, String::new()),
        };
        rank(self).cmp(&rank(other))
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

/// Whether the configuration can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, and is probably not what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where the value came from.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What would mend it.
    pub hint: String,
}

impl Problem {
    /// A problem that keeps the configuration from being used.
    pub fn error(place: Place, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place, message: message.into(), hint: hint.into() }
    }

    pub(super) fn warning(
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message, hint) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(formatter, "{}: {severity}{}; hint: {}", self.place, self.message, self.hint)
    }
}

/// How a problem stands above its snippet: the place is in the snippet, if there is one.
#[derive(Debug)]
struct Headed<'a>(&'a Problem);

impl fmt::Display for Headed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.place {
            Place::File(..) => formatter.write_str(&self.0.message),
            _ => write!(formatter, "{}: {}", self.0.place, self.0.message),
        }
    }
}

impl Error for Headed<'_> {}

impl Diagnostic for Headed<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.0.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(&self.0.hint))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match &self.0.place {
            Place::File(document, _) => Some(&*document.0),
            _ => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Place::File(_, span) = &self.0.place else {
            return None;
        };
        let label = LabeledSpan::new_primary_with_span(Some("here".into()), span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// How problems are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line each, for files and machines.
    Plain,
    /// With the lines of the file that they stand in, for a terminal.
    Snippets {
        /// Whether the terminal shows colours and wants them.
        colour: bool,
    },
}

/// Shows problems, one after the other.
#[must_use]
pub fn render(problems: &[Problem], style: Style) -> String {
    let mut text = String::new();
    for problem in problems {
        let Style::Snippets { colour } = style else {
            text.push_str(&format!("{problem}\n"));
            continue;
        };
        let theme =
            if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100);
        if !text.is_empty() {
            text.push('\n');
        }
        if handler.render_report(&mut text, &Headed(problem)).is_err() {
            // A string takes any text, so only a snippet that cannot be cut comes here.
            text.push_str(&format!("{problem}\n"));
        }
    }
    text
}

/// Everything that keeps a configuration from being used, with the warnings; never empty.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
    omitted: usize,
}

impl ConfigErrors {
    /// These problems, of which there must be one at least.
    #[must_use]
    pub fn new(mut problems: Vec<Problem>) -> Self {
        sort(&mut problems);
        let omitted = problems.len().saturating_sub(MOST_PROBLEMS);
        problems.truncate(MOST_PROBLEMS);
        Self { problems, omitted }
    }

    /// The problems, in the order of the file; the first hundred if there are more.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many there are beyond those.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Shows them, and says how many were left out.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let mut text = render(&self.problems, style);
        if self.omitted > 0 {
            text.push_str(&format!("{} more problems are not shown\n", self.omitted));
        }
        text
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.render(Style::Plain).trim_end())
    }
}

impl Error for ConfigErrors {}

/// By place; problems of one place stay in the order in which they were found.
pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by(|one, other| one.place.order(&other.place));
}
