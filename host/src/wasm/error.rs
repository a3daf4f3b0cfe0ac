//! What a guest did wrong: before it runs, and while it runs.

use wasmtime::{Trap, WasmBacktrace};
use waypost_core::PluginName;
use waypost_protocol::ErrorCode;

use super::{Interface, Interfaces, meter::LimitHit, policy::listed};
use crate::router::stage::StageFailure;

/// Why an artefact does not become a version of a stage.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// It is larger than it may be.
    #[error(
        "the artefact has {bytes} bytes, at most {limit} are allowed; raise artefact_bytes or build it with --release"
    )]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// It is no WebAssembly at all.
    #[error("the file is no WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    /// It is broken, or cut off.
    #[error(
        "the artefact is not valid WebAssembly: {0}; build it again, and move it into its place when it is whole"
    )]
    Invalid(String),
    /// It is a core module without the contract, or one that breaks it.
    #[error(
        "the module does not become a component: {0}; build it with waypost-sdk for wasm32-unknown-unknown"
    )]
    NotComponent(String),
    /// It does not compile.
    #[error("the artefact does not compile: {0}")]
    Compile(String),
    /// Compiling it took too much CPU time.
    #[error(
        "compiling the artefact took more than {seconds} s of CPU time; raise plugins.compile.seconds, or build a smaller plugin"
    )]
    CompileTime {
        /// What it may take.
        seconds: u64,
    },
    /// Compiling it took too long, on a busy machine.
    #[error(
        "compiling the artefact did not end within {seconds} s on the wall clock, ten times its CPU time; raise plugins.compile.seconds, or build a smaller plugin"
    )]
    CompileWallClock {
        /// What it may take.
        seconds: u64,
    },
    /// Compiling it took too much memory.
    #[error(
        "compiling the artefact took more than {bytes} bytes of memory; raise plugins.compile.memory_bytes, or build a smaller plugin"
    )]
    CompileMemory {
        /// What it may take.
        bytes: u64,
    },
    /// The process that compiles failed on its own account.
    #[error("the process that compiles the artefact failed: {0}")]
    Compiler(String),
    /// What was compiled is not where it was put.
    #[error(
        "the folder of compiled artefacts lost the artefact at once; see that nothing else writes there"
    )]
    CacheLost,
    /// The router ends, or failed on its own account.
    #[error("the router ended before the plugin was tried")]
    Interrupted,
    /// It imports what the router does not offer.
    #[error(
        "the plugin imports {0}, which the router does not offer; plugins may import log, clock, random and metrics of waypost:plugin@1.0.0"
    )]
    UnknownImport(String),
    /// It imports what its manifest does not name.
    #[error(
        "the plugin imports {0}, which its manifest does not name; add it to the manifest's imports, with waypost-sdk as imports({0}) in the attribute"
    )]
    UndeclaredImport(Interface),
    /// It imports what the configuration does not grant it.
    #[error(transparent)]
    NotGranted(#[from] Box<NotGranted>),
    /// It lacks an export of the contract, or has it with another type.
    #[error("the plugin does not fit the contract waypost:plugin@1.0.0: {0}")]
    Contract(String),
    /// Its manifest says something impossible.
    #[error("the plugin's manifest is wrong: {0}")]
    Manifest(String),
    /// It failed before it saw a batch.
    #[error("the plugin failed in {call}: {failure}")]
    Call {
        /// The export that was called, or `start`.
        call: &'static str,
        /// What happened.
        failure: StageFailure,
    },
    /// It refuses the stage's configuration.
    #[error("the plugin refuses its configuration: {0}")]
    Configuration(String),
    /// It failed on the batch that every version is tried with.
    #[error("the plugin failed its self-test: {0}")]
    SelfTest(StageFailure),
}

/// A plugin imports what the configuration does not grant it.
#[derive(Debug, thiserror::Error)]
#[error(
    "the plugin imports {}, which it is not granted; if you trust it with that, write under [plugins.override.{plugin}] in the configuration: grants = {}",
    shown(missing),
    listed(imported)
)]
pub struct NotGranted {
    /// The plugin, as the configuration calls it.
    pub plugin: PluginName,
    /// What it lacks.
    pub missing: Interfaces,
    /// Everything that it imports.
    pub imported: Interfaces,
}

impl PluginError {
    /// Whether the same artefact may be accepted at another time: it ran out of time on a busy machine.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Call { failure, .. } | Self::SelfTest(failure) => {
                failure.code == ErrorCode::PluginTimeout
            }
            Self::CompileWallClock { .. }
            | Self::Compiler(_)
            | Self::CacheLost
            | Self::Interrupted => true,
            _ => false,
        }
    }

    /// Its kind, for counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NotWasm => "not_wasm",
            Self::Invalid(_) => "invalid",
            Self::NotComponent(_) => "not_component",
            Self::Compile(_) => "compile",
            Self::CompileTime { .. } | Self::CompileWallClock { .. } => "compile_time",
            Self::CompileMemory { .. } => "compile_memory",
            Self::Compiler(_) | Self::CacheLost => "compiler",
            Self::Interrupted => "interrupted",
            Self::UnknownImport(_) | Self::UndeclaredImport(_) => "import",
            Self::NotGranted(_) => "grant",
            Self::Contract(_) => "contract",
            Self::Manifest(_) => "manifest",
            Self::Call { .. } => "call",
            Self::Configuration(_) => "configuration",
            Self::SelfTest(_) => "self_test",
        }
    }
}

/// Interfaces in a sentence.
fn shown(interfaces: &Interfaces) -> String {
    let names: Vec<&str> = interfaces.iter().map(|known| known.name()).collect();
    names.join(" and ")
}

/// What wasmtime says when an answer is larger than its fuel.
const OUT_OF_FUEL: &str = "fuel allocated for hostcalls has been exhausted";

/// What became of a call that did not return; `panicked` is the guest's last word.
pub(super) fn failure(error: &wasmtime::Error, panicked: Option<String>) -> StageFailure {
    let (code, what) = if let Some(hit) = error.downcast_ref::<LimitHit>() {
        (hit.code(), hit.to_string())
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        (ErrorCode::PluginTrap, trap.to_string())
    } else if format!("{error:#}").contains(OUT_OF_FUEL) {
        let text = "the answer is larger than output_bytes allows";
        (ErrorCode::PluginOutput, text.to_owned())
    } else {
        (ErrorCode::PluginContract, format!("{error:#}"))
    };
    let mut text = panicked.map_or_else(String::new, |panicked| format!("{panicked}\n"));
    text.push_str(&what);
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let frames = backtrace.to_string();
        if !frames.trim().is_empty() {
            text.push('\n');
            text.push_str(frames.trim_end());
        }
    }
    StageFailure { code, text }
}
