//! What a plugin is granted: interfaces of the router, and so much of the machine.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::SandboxLimits;

/// An interface of the contract that a plugin may import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interface {
    /// Lines for the router's log.
    Log,
    /// Counters that the router shows.
    Metrics,
    /// The time.
    Clock,
    /// Chance.
    Random,
}

impl Interface {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Log, Self::Metrics, Self::Clock, Self::Random];

    /// As the contract calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Metrics => "metrics",
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that no interface has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no interface has this name; there are log, metrics, clock and random")]
pub struct InterfaceError;

impl FromStr for Interface {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Self, InterfaceError> {
        Self::ALL.into_iter().find(|known| known.name() == text).ok_or(InterfaceError)
    }
}

/// Some of the interfaces.
pub type Interfaces = BTreeSet<Interface>;

/// What one plugin may import, and what it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginPolicy {
    /// The interfaces that it may import.
    pub grants: Interfaces,
    /// The bounds that it runs within.
    pub limits: SandboxLimits,
}

impl Default for PluginPolicy {
    /// It may import what cannot change an answer: whatever else it imports is granted by name.
    fn default() -> Self {
        let grants = Interfaces::from([Interface::Log, Interface::Metrics]);
        Self { grants, limits: SandboxLimits::default() }
    }
}

/// Interfaces as a configuration lists them.
pub(super) fn listed(interfaces: &Interfaces) -> String {
    let names: Vec<String> = interfaces.iter().map(|known| format!("\"{known}\"")).collect();
    format!("[{}]", names.join(", "))
}
