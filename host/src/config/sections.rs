//! Every section of the configuration but the routes: its keys with their defaults and ranges.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use waypost_core::{IncomingPolicy, PluginName, RollbackPolicy};
use waypost_protocol::{
    Limits, MAX_BATCH_MESSAGES, MAX_FRAME_BYTES, MAX_HEADERS, MAX_MESSAGE_BYTES,
};

use super::{
    groups::{DraftGroup, groups, read_group},
    key::Kind,
    routes::{DraftRoute, read_route},
    scalar::Complaint,
    section::Section,
    streams::{DraftStream, StorageSection, read_stream, storage},
    topics::{DraftTopic, read_topic},
};
use crate::{
    deploy::{PluginRules, Trust, TrustedKey},
    groups::GroupSettings,
    net::TlsFiles,
    router::{LaneLimits, QueueLimits},
    wasm::{CompileLimits, Digest, Interface, Interfaces, PluginPolicy, SandboxLimits},
};

/// A day: longer than any wait that is not a mistake.
pub(super) const LONGEST_MS: u64 = 86_400_000;
/// A day, too.
const LONGEST_ROLLBACK_MS: u32 = 86_400_000;
/// The largest bound of bytes held at one place; it fits the 32 bits that semaphores count in.
pub(super) const MOST_BYTES: usize = 1 << 30;
/// A delivery frame keeps 64 KiB for its control part, so that less than this carries nothing.
const LEAST_FRAME_BYTES: u32 = 128 << 10;
/// The compiler needs some of this address space before it sees an artefact.
const LEAST_COMPILER_BYTES: u64 = 256 << 20;
/// What [`Limits::negotiate`] accepts at least.
const LEAST_MESSAGE_BYTES: u32 = 1024;

/// A configuration as far as its keys, one by one, are right.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) router: RouterSection,
    pub(super) listen: ListenSection,
    pub(super) limits: Limits,
    pub(super) queues: QueuesSection,
    pub(super) admin: AdminSection,
    pub(super) plugins: PluginsSection,
    pub(super) storage: StorageSection,
    pub(super) streams: Vec<DraftStream>,
    pub(super) groups: GroupSettings,
    pub(super) group: Vec<DraftGroup>,
    pub(super) topics: Vec<DraftTopic>,
    pub(super) routes: Vec<DraftRoute>,
}

#[derive(Debug)]
pub(super) struct RouterSection {
    pub(super) state_folder: PathBuf,
    pub(super) threads: usize,
    pub(super) drain_deadline: Duration,
    pub(super) block_max: Duration,
}

#[derive(Debug)]
pub(super) struct ListenSection {
    pub(super) address: SocketAddr,
    pub(super) insecure_no_auth: bool,
    pub(super) tls: Option<TlsFiles>,
    pub(super) incoming: IncomingPolicy,
    pub(super) max_streams: u32,
    pub(super) max_subscriptions: usize,
    pub(super) max_in_flight: usize,
    pub(super) handshake_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) stalled_frame_timeout: Duration,
}

#[derive(Debug)]
pub(super) struct QueuesSection {
    pub(super) lane: LaneLimits,
    pub(super) subscription: QueueLimits,
}

#[derive(Debug)]
pub(super) struct AdminSection {
    pub(super) enabled: bool,
    pub(super) address: SocketAddr,
    pub(super) insecure_no_auth: bool,
}

#[derive(Debug)]
pub(super) struct PluginsSection {
    pub(super) folder: PathBuf,
    pub(super) watch: bool,
    pub(super) compile_cache: bool,
    pub(super) compile: CompileLimits,
    pub(super) keep_versions: usize,
    pub(super) rollback: RollbackPolicy,
    pub(super) rules: PluginRules,
    pub(super) overrides: Vec<(PluginName, PluginRules)>,
}

/// Reads a whole configuration.
pub(super) fn read(top: &mut Section<'_, '_>) -> Draft {
    let router = top.section("router", router);
    let listen = top.section("listen", listen);
    let limits = top.section("limits", limits);
    let queues = top.section("queues", queues);
    let admin = top.section("admin", admin);
    let plugins = top.section("plugins", plugins);
    let storage = top.section("storage", storage);
    let streams = top.sections("stream", read_stream);
    let groups = top.section("groups", groups);
    let group = top.sections("group", |section| read_group(section, &groups.defaults));
    let topics = top.sections("topic", |section| read_topic(section, router.block_max));
    let routes = top.sections("route", read_route);
    Draft {
        router,
        listen,
        limits,
        queues,
        admin,
        plugins,
        storage,
        streams,
        groups,
        group,
        topics,
        routes,
    }
}

fn router(section: &mut Section<'_, '_>) -> RouterSection {
    RouterSection {
        state_folder: section.path("state_folder", ".waypost"),
        threads: section.integer("threads", 1, 1..=1024),
        drain_deadline: section.milliseconds("drain_deadline_ms", 10_000, 1..=LONGEST_MS),
        block_max: section.milliseconds("block_max_ms", 5_000, 1..=LONGEST_MS),
    }
}

fn listen(section: &mut Section<'_, '_>) -> ListenSection {
    ListenSection {
        address: address(section, 4433),
        insecure_no_auth: section.boolean("insecure_no_auth", false),
        tls: tls(section),
        incoming: IncomingPolicy {
            max_connections: section.integer("max_connections", 10_000, 1..=1_000_000),
            max_handshakes: section.integer("max_handshakes", 1000, 1..=1_000_000),
            retry_above_handshakes: section.integer("retry_above_handshakes", 100, 0..=1_000_000),
        },
        max_streams: section.integer("max_streams", 100, 1..=100_000),
        max_subscriptions: section.integer("max_subscriptions", 64, 1..=100_000),
        max_in_flight: section.integer("max_in_flight", 256, 1..=100_000),
        handshake_timeout: section.milliseconds("handshake_timeout_ms", 5_000, 1..=LONGEST_MS),
        idle_timeout: section.milliseconds("idle_timeout_ms", 30_000, 100..=LONGEST_MS),
        stalled_frame_timeout: section.milliseconds(
            "stalled_frame_timeout_ms",
            10_000,
            1..=LONGEST_MS,
        ),
    }
}

fn address(section: &mut Section<'_, '_>, port: u16) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    section.text("address", Kind::Address, default, |text| {
        text.parse().map_err(|_| Complaint::new("not an IP address and a port"))
    })
}

fn tls(section: &mut Section<'_, '_>) -> Option<TlsFiles> {
    let certificate = section.optional_path("certificate");
    let key = section.optional_path("key");
    let is_set = |name| section.reader.is_set(&section.path_of(name));
    let (alone, missing) = match (is_set("certificate"), is_set("key")) {
        (true, false) => ("certificate", "key"),
        (false, true) => ("key", "certificate"),
        _ => {
            return Some(TlsFiles { certificate: certificate?, key: key? });
        }
    };
    let place = section.reader.place(&section.path_of(alone));
    let message = format!("listen.{alone} stands without listen.{missing}");
    let hint = "set both, or none for a development certificate";
    section.reader.error(place, message, hint);
    None
}

fn limits(section: &mut Section<'_, '_>) -> Limits {
    Limits {
        max_frame_bytes: section.integer(
            "max_frame_bytes",
            MAX_FRAME_BYTES,
            LEAST_FRAME_BYTES..=MAX_FRAME_BYTES,
        ),
        max_batch_messages: section.integer(
            "max_batch_messages",
            MAX_BATCH_MESSAGES,
            1..=MAX_BATCH_MESSAGES,
        ),
        max_message_bytes: section.integer(
            "max_message_bytes",
            MAX_MESSAGE_BYTES,
            LEAST_MESSAGE_BYTES..=MAX_MESSAGE_BYTES,
        ),
        max_headers: section.integer("max_headers", MAX_HEADERS, 0..=MAX_HEADERS),
    }
}

fn queues(section: &mut Section<'_, '_>) -> QueuesSection {
    QueuesSection {
        lane: LaneLimits {
            batches: section.integer("lane_batches", 64, 1..=65_536),
            bytes: section.integer("lane_bytes", 16 << 20, 1024..=MOST_BYTES),
        },
        subscription: QueueLimits {
            messages: section.integer("subscription_messages", 65_536, 1..=16_777_216),
            bytes: section.integer("subscription_bytes", 16 << 20, 1024..=MOST_BYTES),
        },
    }
}

fn admin(section: &mut Section<'_, '_>) -> AdminSection {
    AdminSection {
        enabled: section.boolean("enabled", true),
        address: address(section, 9464),
        insecure_no_auth: section.boolean("insecure_no_auth", false),
    }
}

fn plugins(section: &mut Section<'_, '_>) -> PluginsSection {
    let folder = section.path("folder", "plugins");
    let watch = section.boolean("watch", true);
    let compile_cache = section.boolean("compile_cache", true);
    let keep_versions = section.integer("keep_versions", 10, 1..=1000);
    let default = PluginPolicy::default();
    let grants = grants(section, &default.grants);
    let keys = trusted_keys(section);
    let compile = section.section("compile", compile);
    let rollback = section.section("rollback", rollback);
    let limits = section.section("limits", |section| sandbox(section, default.limits));
    let policy = PluginPolicy { grants, limits };
    let rules = PluginRules { policy, trust: Trust { keys: keys.into(), pin: None } };
    let overrides = section.named("override", |section, name| {
        let PluginRules { policy, trust } = &rules;
        let pin = section.optional("digest", Kind::Digest, "none", |text| {
            text.parse::<Digest>().map_err(|_| Complaint::new("not a digest"))
        });
        let grants = self::grants(section, &policy.grants);
        let policy = PluginPolicy { grants, limits: sandbox(section, policy.limits) };
        let read = PluginRules { policy, trust: Trust { pin, ..trust.clone() } };
        match PluginName::parse(name) {
            Ok(name) => Some((name, read)),
            Err(error) => {
                let place = section.reader.place(&section.path);
                section.reader.error(place, error.to_string(), "name a plugin of a stage");
                None
            }
        }
    });
    let overrides = overrides.into_iter().flatten().collect();
    PluginsSection {
        folder,
        watch,
        compile_cache,
        compile,
        keep_versions,
        rollback,
        rules,
        overrides,
    }
}

fn grants(section: &mut Section<'_, '_>, default: &Interfaces) -> Interfaces {
    let default = default.iter().copied().collect();
    let named = section.list("grants", default, "of log, metrics, clock, random", |text| {
        let known: Result<Interface, _> = text.parse();
        known.map_err(|_| Complaint::new("no interface of plugins"))
    });
    named.into_iter().collect()
}

fn trusted_keys(section: &mut Section<'_, '_>) -> Vec<TrustedKey> {
    section.list("trusted_keys", Vec::new(), "of public keys", |text| {
        let known: Result<TrustedKey, _> = text.parse();
        known.map_err(|error| Complaint::from_error("not a key", &error))
    })
}

fn rollback(section: &mut Section<'_, '_>) -> RollbackPolicy {
    let default = RollbackPolicy::default();
    RollbackPolicy {
        enabled: section.boolean("enabled", default.enabled),
        window_ms: section.integer("window_ms", default.window_ms, 1..=LONGEST_ROLLBACK_MS),
        min_failures: section.integer("min_failures", default.min_failures, 1..=1_000_000),
        failure_percent: section.integer("failure_percent", default.failure_percent, 1..=100),
    }
}

fn compile(section: &mut Section<'_, '_>) -> CompileLimits {
    let default = CompileLimits::default();
    CompileLimits {
        seconds: section.integer("seconds", default.seconds, 1..=3600),
        memory_bytes: section.integer(
            "memory_bytes",
            default.memory_bytes,
            LEAST_COMPILER_BYTES..=64 << 30,
        ),
    }
}

fn sandbox(section: &mut Section<'_, '_>, default: SandboxLimits) -> SandboxLimits {
    let deadline_ms = u64::try_from(default.deadline.as_millis()).unwrap_or(u64::MAX);
    SandboxLimits {
        memory_bytes: section.integer("memory_bytes", default.memory_bytes, 65_536..=4 << 30),
        table_elements: section.integer("table_elements", default.table_elements, 1..=10_000_000),
        deadline: section.milliseconds("deadline_ms", deadline_ms, 1..=600_000),
        output_bytes: section.integer("output_bytes", default.output_bytes, 1024..=MOST_BYTES),
        emitted_per_message: section.integer(
            "emitted_per_message",
            default.emitted_per_message,
            0..=MAX_BATCH_MESSAGES,
        ),
        log_bytes_per_second: section.integer(
            "log_bytes_per_second",
            default.log_bytes_per_second,
            0..=16_777_216,
        ),
        artefact_bytes: section.integer(
            "artefact_bytes",
            default.artefact_bytes,
            1024..=MOST_BYTES,
        ),
    }
}
