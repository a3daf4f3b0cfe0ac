//! A spawned task that ends with its handle.

use tokio::task::JoinHandle;

/// Aborts the task when it is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Spawns on the current runtime.
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Resolves when the task has ended.
    pub(crate) async fn ended(&mut self) {
        // A task that panicked or was aborted has ended too.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
