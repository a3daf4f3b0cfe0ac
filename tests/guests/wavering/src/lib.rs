//! Wants to see some messages more than once, and rejects others; what makes a route park messages and give up on some.
#![forbid(unsafe_code)]

use std::{collections::HashMap, time::Duration};

use waypost_sdk::{Manifest, Reads, Role, prelude::*};

/// Which messages, by the last digit of their payload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Those that it wants to see again.
    retry: String,
    /// How often it wants that.
    times: u32,
    /// Those that it rejects.
    reject: String,
}

/// The plugin.
pub struct Wavering {
    config: Config,
    /// How often it saw the messages that it wants to see again.
    seen: HashMap<Vec<u8>, u32>,
}

impl Plugin for Wavering {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest {
            name: "wavering",
            version: "1.0.0",
            role: Role::Filter,
            reads: Reads { payloads: true, ..Reads::NONE },
            imports: &[],
            deterministic: false,
        }
    }

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config, seen: HashMap::new() })
    }

    fn process(&mut self, message: &Message<'_>, _: &mut Emitter<'_>) -> Result<Verdict> {
        let payload = message.payload();
        if payload.ends_with(self.config.reject.as_bytes()) {
            return Err(Error::msg("it is one that I do not like"));
        }
        if !payload.ends_with(self.config.retry.as_bytes()) {
            return Ok(Verdict::Forward);
        }
        let seen = self.seen.entry(payload.to_vec()).or_default();
        *seen += 1;
        if *seen <= self.config.times {
            return Ok(Verdict::Retry(Duration::from_millis(20)));
        }
        self.seen.remove(payload);
        Ok(Verdict::Forward)
    }
}

waypost_sdk::export!(Wavering);
