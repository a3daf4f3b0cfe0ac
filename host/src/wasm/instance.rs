//! An instance of a version, as a lane has it: where its calls run, and what is left of it after one that failed.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use waypost_core::StageOutput;
use waypost_protocol::{Batch, ErrorCode};

use super::{
    PluginError, Reads,
    aside::{Aside, Conduct},
    standing::Standing,
    version::Offer,
};
use crate::router::stage::{StageFailure, StageInstance};

/// A guest that stands until a call on it fails.
pub struct Instance {
    /// Gone while a call is made, and after one that failed.
    standing: Option<Standing>,
    /// Its last answer was found good, or none was given.
    is_good: bool,
    memory_bytes: usize,
    aside: Arc<Aside>,
    conduct: Arc<Conduct>,
    plugin: String,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Instance").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl Instance {
    /// Starts and configures a guest of a version whose calls went so.
    pub(super) async fn start(
        offer: &Offer,
        reads: Reads,
        conduct: &Arc<Conduct>,
    ) -> Result<Self, PluginError> {
        let start = {
            let offer = offer.clone();
            async move {
                let mut standing = Standing::start(&offer).await?;
                standing.configure(&offer, reads).await?;
                Ok::<_, PluginError>(standing)
            }
        };
        let started = if conduct.is_suspect() {
            offer.aside.run(start).await.ok_or(PluginError::Interrupted)?
        } else {
            start.await
        };
        let standing = started.inspect_err(|_| conduct.note(false))?;
        Ok(Self {
            memory_bytes: standing.memory_bytes(),
            standing: Some(standing),
            is_good: true,
            aside: offer.aside.clone(),
            conduct: conduct.clone(),
            plugin: offer.plugin.as_str().to_owned(),
        })
    }

    /// Bytes of linear memory that the guest has, or had when a call on it failed.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    async fn call(&mut self, batch: &Batch) -> Result<StageOutput, StageFailure> {
        let mut standing = self.standing.take().ok_or_else(|| StageFailure {
            code: ErrorCode::Internal,
            text: "the instance was called after a call on it had failed".to_owned(),
        })?;
        let clock = standing.clock();
        let batch = batch.clone();
        let call = Box::pin(async move {
            let output = standing.process(&batch).await;
            let memory_bytes = standing.memory_bytes();
            // Taking a guest down takes long as well.
            let standing = output.is_ok().then_some(standing);
            (standing, memory_bytes, output)
        });
        self.is_good = false;
        let called = self.aside.call(call, &clock, &self.conduct).await;
        let (standing, memory_bytes, output) = called.ok_or_else(|| StageFailure {
            code: ErrorCode::Internal,
            text: "the router ended, or failed on its own account, within the call".to_owned(),
        })?;
        self.standing = standing;
        self.memory_bytes = memory_bytes;
        output
    }
}

impl StageInstance for Instance {
    fn process<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<StageOutput, StageFailure>> {
        Box::pin(self.call(batch))
    }

    fn commit(&mut self) {
        self.is_good = true;
        if let Some(standing) = &mut self.standing {
            standing.commit();
        }
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.is_good {
            self.conduct.note(false);
        }
        if let Some(standing) = self.standing.take()
            && self.conduct.is_suspect()
        {
            self.aside.leave(standing);
        }
    }
}
