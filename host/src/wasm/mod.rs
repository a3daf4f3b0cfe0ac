//! The sandbox: artefacts become versions of stages, and instances of these process batches.
//!
//! Everything that a guest says is checked here: its manifest, its imports, its answers. A guest that
//! traps, runs too long, takes too much or talks nonsense is a [`StageFailure`](crate::router::stage::StageFailure)
//! or a [`PluginError`], never a panic of the router. The sandbox knows routes and the network not at all.
//!
//! [`Sandbox::compile`] takes bytes and gives an [`Artefact`]; [`Sandbox::prepare`] takes an artefact
//! and a stage's configuration and gives a version that has passed its self-test. Neither belongs on the
//! data path: the first takes long, which is why the router has a child process do it, the second runs the guest for the first time.

mod artefact;
mod aside;
mod bindings;
mod child;
mod compiler;
mod error;
mod imports;
mod instance;
mod limits;
mod manifest;
mod meter;
mod metrics;
mod policy;
mod sandbox;
mod standing;
#[cfg(test)]
mod tests;
mod version;

pub use artefact::{Artefact, Digest, DigestError};
pub use compiler::{ARGUMENT, ChildCompiler, CompileLimits, Compiler, compile_as_child};
pub use error::{NotGranted, PluginError};
pub use instance::Instance;
pub use limits::SandboxLimits;
pub use manifest::{Manifest, Reads};
pub use metrics::SandboxMetrics;
pub use policy::{Interface, InterfaceError, Interfaces, PluginPolicy};
pub use sandbox::{EngineError, Sandbox};
pub use version::Version;
