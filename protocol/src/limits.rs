//! What may be how large, and why. Both sides name their limits in hello and welcome; the smaller
//! of the two holds.

/// A topic fits one byte of length, as do the file and label names that are made of it.
pub const MAX_TOPIC_BYTES: u16 = 255;
/// Enough for any hierarchy seen in practice; bounds the depth of the route table.
pub const MAX_TOPIC_LEVELS: usize = 16;
/// Headers are metadata: a message that needs more of them carries data in the wrong place.
pub const MAX_HEADERS: u16 = 64;
/// Topic, key, headers and payload of one message: a payload of 1 MiB and room for the rest.
pub const MAX_MESSAGE_BYTES: u32 = (1 << 20) + (1 << 16);
/// Bounds what one frame makes the receiver hold; several of the largest messages fit.
pub const MAX_FRAME_BYTES: u32 = 8 << 20;
/// Beyond this a larger batch saves nothing more, and one call into a plugin would take too long.
pub const MAX_BATCH_MESSAGES: u32 = 16_384;

/// The limits that one side of a connection keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a frame's body.
    pub max_frame_bytes: u32,
    /// Messages in a batch.
    pub max_batch_messages: u32,
    /// Bytes of topic, key, headers and payload of one message together.
    pub max_message_bytes: u32,
    /// Headers of one message.
    pub max_headers: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: MAX_FRAME_BYTES,
            max_batch_messages: MAX_BATCH_MESSAGES,
            max_message_bytes: MAX_MESSAGE_BYTES,
            max_headers: MAX_HEADERS,
        }
    }
}

/// Limits under which nothing useful could be carried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the peer's limit {limit} is {value}, the least that works is {least}")]
pub struct LimitsError {
    /// Which limit.
    pub limit: &'static str,
    /// What the peer said.
    pub value: u32,
    /// What it must be at least.
    pub least: u32,
}

impl Limits {
    /// The smaller of each of the two sides' limits.
    ///
    /// # Errors
    ///
    /// A limit under its floor: a frame of 4 KiB, one message in a batch, a message of 1 KiB.
    pub fn negotiate(self, other: Self) -> Result<Self, LimitsError> {
        let agreed = Self {
            max_frame_bytes: self.max_frame_bytes.min(other.max_frame_bytes),
            max_batch_messages: self.max_batch_messages.min(other.max_batch_messages),
            max_message_bytes: self.max_message_bytes.min(other.max_message_bytes),
            max_headers: self.max_headers.min(other.max_headers),
        };
        for (limit, value, least) in [
            ("max_frame_bytes", agreed.max_frame_bytes, 4096),
            ("max_batch_messages", agreed.max_batch_messages, 1),
            ("max_message_bytes", agreed.max_message_bytes, 1024),
        ] {
            if value < least {
                return Err(LimitsError { limit, value, least });
            }
        }
        Ok(agreed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_limit_of_each_holds() {
        let small = Limits { max_frame_bytes: 8192, ..Limits::default() };
        let few = Limits { max_headers: 3, ..Limits::default() };
        let agreed = small.negotiate(few).expect("both are above the floors");
        assert_eq!((agreed.max_frame_bytes, agreed.max_headers), (8192, 3));
    }

    #[test]
    fn a_limit_under_its_floor_is_named() {
        let none = Limits { max_batch_messages: 0, ..Limits::default() };
        let error = Limits::default().negotiate(none).expect_err("nothing could be published");
        assert_eq!(error.limit, "max_batch_messages");
    }
}
