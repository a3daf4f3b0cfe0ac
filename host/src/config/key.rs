//! What a key of the configuration is: its path, what it takes, and what holds without it.

use std::fmt;

/// A key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// Dotted, with `<plugin>` in place of a plugin's name.
    pub(super) path: String,
    pub(super) kind: Kind,
    /// As it would be written; or what happens without it.
    pub(super) default: String,
    /// `1 to 100`; empty where the kind says it all.
    pub(super) range: String,
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Boolean,
    Address,
    Path,
    Name,
    Pattern,
    Topic,
    Digest,
    List,
    OnFull,
    Fsync,
    Start,
    Table,
}

impl Kind {
    /// How such a value is written.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Integer => "write a whole number",
            Self::Boolean => "write true or false, without quotes",
            Self::Address => "write an IP address and a port, \"127.0.0.1:4433\" or \"[::1]:4433\"",
            Self::Path => "write a path in quotes",
            Self::Name => "write a name of 1 to 64 characters of a-z 0-9 - in quotes",
            Self::Pattern => {
                "write a topic in quotes, with * for one level or a final > for the rest"
            }
            Self::Topic => {
                "write levels of A-Z a-z 0-9 _ - between dots in quotes, at most 16 levels and 255 bytes"
            }
            Self::Digest => "write the 64 digits that waypost plugin list --output json prints",
            Self::List => "write texts in brackets, [\"log\", \"metrics\"]",
            Self::OnFull => "write \"block\", \"drop-newest\" or \"drop-oldest\"",
            Self::Fsync => "write \"group\" or \"none\"",
            Self::Start => "write \"end\" or \"beginning\"",
            Self::Table => "write keys and values in braces, { minimum = 4.5 }",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Address => "address",
            Self::Path => "path",
            Self::Name => "name",
            Self::Pattern => "pattern",
            Self::Topic => "topic",
            Self::Digest => "digest",
            Self::List => "list",
            Self::OnFull => "policy",
            Self::Fsync => "fsync",
            Self::Start => "start",
            Self::Table => "table",
        })
    }
}

/// A path in the configuration without the indices: `route[1].stage[0].name` is `route.stage.name`.
pub(super) fn without_indices(path: &str) -> String {
    let mut shown = String::with_capacity(path.len());
    let mut inside = false;
    for character in path.chars() {
        match character {
            '[' => inside = true,
            ']' => inside = false,
            other if !inside => shown.push(other),
            _ => {}
        }
    }
    shown
}

/// A path as [`Key::path`] has it.
pub(super) fn in_schema(path: &str) -> String {
    let shown = without_indices(path);
    match shown.strip_prefix("plugins.override.").and_then(|rest| rest.split_once('.')) {
        Some((_, key)) => format!("plugins.override.<plugin>.{key}"),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_loses_indices_and_plugin_names() {
        assert_eq!(in_schema("route[1].stage[10].name"), "route.stage.name");
        assert_eq!(
            in_schema("plugins.override.filter-json.deadline_ms"),
            "plugins.override.<plugin>.deadline_ms"
        );
        assert_eq!(in_schema("plugins.override"), "plugins.override");
    }
}
