//! How much of the machine a plugin may take.

use std::time::Duration;

/// The sandbox's bounds; on by default, and set per plugin in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: usize,
    /// Elements of all tables of one instance.
    pub table_elements: usize,
    /// The guest's own running time for one batch. On the wall clock it may take ten times that, so
    /// that a busy machine condemns no innocent plugin.
    pub deadline: Duration,
    /// Bytes of verdicts, reasons and emitted messages in one answer.
    pub output_bytes: usize,
    /// Messages that may replace one.
    pub emitted_per_message: u32,
    /// Bytes that an instance may log in a second; what is over is dropped and counted.
    pub log_bytes_per_second: u32,
    /// Bytes of the artefact.
    pub artefact_bytes: usize,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            deadline: Duration::from_millis(250),
            output_bytes: 16 << 20,
            emitted_per_message: 64,
            log_bytes_per_second: 64 << 10,
            artefact_bytes: 16 << 20,
        }
    }
}
