//! Dead letters of one job that met the same versions and go on in the same way.

use waypost_core::{DeadLetters, Failure, Lineage, Output, Partition, RouteName, Trace, Traced};
use waypost_protocol::{Limits, MessageView};

use super::{
    super::stage::{Stage, is_same},
    Label,
};

/// Such letters, in the order in which their messages were given up on.
pub(super) struct Letters {
    route: RouteName,
    /// The stages that they met.
    met: Vec<Stage>,
    label: Label,
    letters: DeadLetters,
    traces: Vec<Trace>,
}

impl Letters {
    pub(super) fn new(route: RouteName, met: Vec<Stage>, label: Label) -> Self {
        let letters = DeadLetters::new(route.clone(), Limits::default());
        Self { route, met, label, letters, traces: Vec::new() }
    }

    /// Whether a letter that met these stages and goes on so belongs to them.
    pub(super) fn takes(&self, met: &[Stage], onward: Option<Lineage>) -> bool {
        is_same(&self.met, met) && self.label.onward == onward
    }

    pub(super) fn push(
        &mut self,
        message: MessageView<'_>,
        failure: &Failure,
        source: Option<(&Partition, Trace)>,
    ) {
        let place = source.map(|(partition, trace)| (partition, trace.offset));
        match self.letters.push_from(message, failure, place) {
            Ok(()) => self.traces.extend(source.map(|(_, trace)| trace)),
            Err(error) => {
                tracing::error!(route = %self.route, %error, "a dead letter could not be kept");
            }
        }
    }

    /// The letters in batches.
    pub(super) fn finish(mut self) -> Vec<Output<Label>> {
        let mut traces = self.traces.into_iter();
        let output = |batch: waypost_protocol::Batch| {
            let traces = traces.by_ref().take(batch.len()).collect();
            let messages = Traced::new(batch.clone(), traces);
            let messages = messages.unwrap_or_else(|| Traced::untraced(batch));
            Output { messages, label: self.label.clone() }
        };
        self.letters.finish().into_iter().map(output).collect()
    }
}
