//! Whether a whole batch may be sent under the limits that were agreed.

use waypost_protocol::{Batch, BatchError, ErrorCode, Inbox, Limits};

use super::{Outcome, PublishError};

/// What a publish frame's control part may take of the frame: four numbers and the name of a stream.
const CONTROL_BYTES: u32 = 128;

/// What a batch may be for its frame to be within the limits.
pub(super) fn for_batches(limits: Limits) -> Limits {
    Limits { max_frame_bytes: limits.max_frame_bytes.saturating_sub(CONTROL_BYTES), ..limits }
}

/// Whether the router would take it, by its numbers.
pub(super) fn check_fits(batch: &Batch, limits: &Limits) -> Result<(), BatchError> {
    let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
    if count > limits.max_batch_messages {
        return Err(BatchError::TooManyMessages { count, limit: limits.max_batch_messages });
    }
    if batch.byte_len() > limits.max_frame_bytes as usize {
        let bytes = batch.byte_len() as u64;
        return Err(BatchError::TooManyBytes { bytes, limit: limits.max_frame_bytes });
    }
    Ok(())
}

/// Whether all of its topics are the publisher's to use.
pub(super) fn check_owner(batch: &Batch) -> Result<(), PublishError> {
    let is_system = |topic: &&str| is_closed(topic);
    let system = match batch.single_topic() {
        Some(topic) => Some(topic).filter(is_system),
        None => batch.iter().map(|message| message.topic()).find(is_system),
    };
    system.map_or(Ok(()), |topic| Err(PublishError::SystemTopic(topic.to_owned())))
}

/// Whether a topic is the router's alone; whoever was handed an inbox may reply to it.
pub(super) fn is_closed(topic: &str) -> bool {
    topic.starts_with('$') && !Inbox::covers(topic)
}

/// What becomes of one that was taken under larger limits.
pub(super) fn unfit(error: &BatchError) -> Outcome {
    let message = format!("{error}, after connecting again to a router with smaller limits");
    Outcome::Rejected { code: ErrorCode::BatchTooLarge.into(), message: message.into() }
}
