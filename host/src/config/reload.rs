//! What of a configuration changes in a running router, and what waits for its next start.

use std::collections::BTreeSet;

use super::{Loaded, PluginSettings, Settings, key::in_schema};
use crate::{net::NetSettings, router::RouterSettings};

/// The keys that hold in a running router as soon as the configuration is reloaded. What is not among them is
/// kept until the router is started anew.
pub(super) const LIVE: [&str; 24] = [
    "limits.max_batch_messages",
    "limits.max_frame_bytes",
    "limits.max_headers",
    "limits.max_message_bytes",
    "listen.certificate",
    "listen.handshake_timeout_ms",
    "listen.idle_timeout_ms",
    "listen.key",
    "listen.max_connections",
    "listen.max_handshakes",
    "listen.max_in_flight",
    "listen.max_streams",
    "listen.max_subscriptions",
    "listen.retry_above_handshakes",
    "listen.stalled_frame_timeout_ms",
    "plugins.keep_versions",
    "plugins.rollback.enabled",
    "plugins.rollback.failure_percent",
    "plugins.rollback.min_failures",
    "plugins.rollback.window_ms",
    "queues.subscription_bytes",
    "queues.subscription_messages",
    "router.block_max_ms",
    "router.drain_deadline_ms",
];

/// The keys in which a configuration differs from what runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Those that hold at once.
    pub live: Vec<String>,
    /// Those that hold after the next start.
    pub restart: Vec<String>,
}

impl Changes {
    /// What changes from a configuration that was applied last, in a router that was started with another, to
    /// the next one.
    #[must_use]
    pub fn between(started: &Loaded, applied: &Loaded, next: &Loaded) -> Self {
        let is_live = |key: &String| LIVE.contains(&&*in_schema(key));
        let (live, _) = differing(applied, next).into_iter().partition(is_live);
        let (_, mut restart): (Vec<_>, Vec<_>) =
            differing(started, next).into_iter().partition(is_live);
        let names_route = |key: &String| key.starts_with("route.");
        // A stage may have gone from one route to another, key by key the same.
        if started.settings.routes != next.settings.routes && !restart.iter().any(names_route) {
            restart.push("route".to_owned());
        }
        Self { live, restart }
    }
}

fn differing(one: &Loaded, other: &Loaded) -> Vec<String> {
    let (one, other) = (one.effective.values(), other.effective.values());
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// The settings that hold in a router that was started with some and is to have others.
#[must_use]
pub fn reloaded(started: &Settings, next: Settings) -> Settings {
    Settings {
        drain_deadline: next.drain_deadline,
        net: NetSettings {
            address: started.net.address,
            insecure_no_auth: started.net.insecure_no_auth,
            state_folder: started.net.state_folder.clone(),
            ..next.net
        },
        router: RouterSettings { block_max: next.router.block_max, ..started.router.clone() },
        plugins: PluginSettings {
            keep_versions: next.plugins.keep_versions,
            rollback: next.plugins.rollback,
            ..started.plugins.clone()
        },
        ..started.clone()
    }
}
