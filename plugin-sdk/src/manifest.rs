//! What a plugin says of itself before it runs.

use crate::bindings::waypost::plugin::types;

/// What the router knows of a plugin before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// `[a-z0-9-]+`, at most 64 bytes.
    pub name: &'static str,
    /// Shown to operators, at most 64 bytes.
    pub version: &'static str,
    /// Shown to operators.
    pub role: Role,
    /// The columns that `process` reads.
    pub reads: Reads,
    /// The interfaces it imports: `clock`, `random`, `metrics`. `log` is always among them, because
    /// the panic hook writes there.
    pub imports: &'static [&'static str],
    /// Whether the same messages and configuration always give the same result.
    pub deterministic: bool,
}

/// What a plugin decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whether a message goes on.
    Filter,
    /// What a message becomes.
    Transform,
    /// Where a message goes.
    Router,
    /// Anything of these.
    General,
}

/// The columns of a batch that a plugin reads. What it does not read is not copied into the sandbox:
/// a filter by key costs the same on long payloads as on short ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reads {
    /// [`Message::topic`](crate::Message::topic).
    pub topics: bool,
    /// [`Message::key`](crate::Message::key).
    pub keys: bool,
    /// [`Message::headers`](crate::Message::headers), and
    /// [`Outgoing::header`](crate::Outgoing::header), which adds to them.
    pub headers: bool,
    /// [`Message::payload`](crate::Message::payload) and what interprets it.
    pub payloads: bool,
    /// [`Message::created_ms`](crate::Message::created_ms).
    pub created: bool,
}

impl Reads {
    /// Nothing: the plugin only counts messages.
    pub const NONE: Self =
        Self { topics: false, keys: false, headers: false, payloads: false, created: false };
    /// Every column.
    pub const ALL: Self =
        Self { topics: true, keys: true, headers: true, payloads: true, created: true };
}

impl From<Manifest> for types::Manifest {
    fn from(manifest: Manifest) -> Self {
        let mut imports = vec!["log".to_owned()];
        imports.extend(
            manifest.imports.iter().filter(|name| **name != "log").map(|name| (*name).to_owned()),
        );
        Self {
            name: manifest.name.to_owned(),
            version: manifest.version.to_owned(),
            role: match manifest.role {
                Role::Filter => types::Role::Filter,
                Role::Transform => types::Role::Transform,
                Role::Router => types::Role::Router,
                Role::General => types::Role::General,
            },
            reads: column_set(manifest.reads),
            imports,
            deterministic: manifest.deterministic,
        }
    }
}

fn column_set(reads: Reads) -> types::ColumnSet {
    [
        (types::ColumnSet::TOPICS, reads.topics),
        (types::ColumnSet::KEYS, reads.keys),
        (types::ColumnSet::HEADERS, reads.headers),
        (types::ColumnSet::PAYLOADS, reads.payloads),
        (types::ColumnSet::CREATED, reads.created),
    ]
    .into_iter()
    .filter(|(_, read)| *read)
    .fold(types::ColumnSet::empty(), |set, (column, _)| set | column)
}
