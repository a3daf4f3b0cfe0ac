//! A plugin's manifest, checked.

use super::{
    Interface, Interfaces, PluginError,
    bindings::waypost::plugin::types::{ColumnSet, Manifest as RawManifest, Role},
    imports::cut,
};

/// The columns of a batch that a plugin reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of five columns")]
pub struct Reads {
    /// Topics.
    pub topics: bool,
    /// Keys.
    pub keys: bool,
    /// Headers.
    pub headers: bool,
    /// Payloads.
    pub payloads: bool,
    /// Creation times.
    pub created: bool,
}

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its version, for operators.
    pub version: String,
    /// `filter`, `transform`, `router` or `general`.
    pub role: &'static str,
    /// The columns that it is handed.
    pub reads: Reads,
    /// The interfaces that it imports.
    pub imports: Interfaces,
    /// Whether the same batch always gets the same answer.
    pub deterministic: bool,
}

const MAX_TEXT_BYTES: usize = 64;

impl Manifest {
    /// Checks a manifest against the contract and against what the artefact imports.
    pub(super) fn check(raw: RawManifest, imported: &Interfaces) -> Result<Self, PluginError> {
        let wrong = |text: String| Err(PluginError::Manifest(text));
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let (name, version) = (raw.name, raw.version);
        if name.is_empty() || name.len() > MAX_TEXT_BYTES || !name.bytes().all(allowed) {
            return wrong(format!(
                "the name {} is not 1 to 64 characters of a-z 0-9 -",
                quoted(&name)
            ));
        }
        let printable = version.chars().all(|character| !character.is_control());
        if version.is_empty() || version.len() > MAX_TEXT_BYTES || !printable {
            return wrong(format!(
                "the version {} is not 1 to 64 printable bytes",
                quoted(&version)
            ));
        }
        let mut imports = Interfaces::new();
        for import in raw.imports {
            let known: Result<Interface, _> = import.parse();
            imports.insert(known.map_err(|_| PluginError::UnknownImport(quoted(&import)))?);
        }
        if let Some(import) = imported.difference(&imports).next() {
            return Err(PluginError::UndeclaredImport(*import));
        }
        let reads = Reads {
            topics: raw.reads.contains(ColumnSet::TOPICS),
            keys: raw.reads.contains(ColumnSet::KEYS),
            headers: raw.reads.contains(ColumnSet::HEADERS),
            payloads: raw.reads.contains(ColumnSet::PAYLOADS),
            created: raw.reads.contains(ColumnSet::CREATED),
        };
        let role = match raw.role {
            Role::Filter => "filter",
            Role::Transform => "transform",
            Role::Router => "router",
            Role::General => "general",
        };
        let deterministic = raw.deterministic;
        Ok(Self { name, version, role, reads, imports, deterministic })
    }
}

/// A guest's text as errors show it: on one line, and not too long.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", cut(text, MAX_TEXT_BYTES))
}
