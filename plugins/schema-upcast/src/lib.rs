//! `schema-upcast`: lifts JSON payloads of old versions to the current one.
//!
//! Consumers then know one version only. A message of the current version passes untouched; for others
//! the steps between the versions run in turn. README.md has the configuration.
#![forbid(unsafe_code)]

mod chain;
#[cfg(test)]
mod tests;

use waypost_sdk::{
    Manifest, Reads, Role,
    prelude::*,
    version::{Version, VersionFrom},
};

use crate::chain::{Chain, Step};

/// The plugin with its steps.
#[derive(Debug)]
pub struct SchemaUpcast {
    version_from: VersionFrom,
    chain: Chain,
}

/// The stage's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    version_from: VersionFrom,
    current: Version,
    step: Vec<Step>,
}

impl Plugin for SchemaUpcast {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest {
            name: "schema-upcast",
            version: env!("CARGO_PKG_VERSION"),
            role: Role::Transform,
            reads: Reads { headers: true, payloads: true, ..Reads::NONE },
            imports: &[],
            deterministic: true,
        }
    }

    fn new(Config { version_from, current, step }: Config) -> Result<Self> {
        Ok(Self { version_from, chain: Chain::new(step, current)? })
    }

    fn process(&mut self, message: &Message<'_>, emitter: &mut Emitter<'_>) -> Result<Verdict> {
        let Some(version) = self.version_from.read(message)? else {
            return Err(Error::msg(format_args!(
                "the message has no version {}; known are {}",
                self.version_from, self.chain
            )));
        };
        if self.chain.current().is(&version) {
            return Ok(Verdict::Forward);
        }
        let Some(step) = self.chain.step_from(&version) else {
            return Err(Error::msg(format_args!(
                "the version `{version}` {} is unknown; known are {}",
                self.version_from, self.chain
            )));
        };
        let mut payload: Value = message.json()?;
        self.chain.upcast(step, &mut payload)?;
        emitter.emit(self.version_from.write(payload, self.chain.current())?)?;
        Ok(Verdict::Emit)
    }
}

waypost_sdk::export!(SchemaUpcast);
