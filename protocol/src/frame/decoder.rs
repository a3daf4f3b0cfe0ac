//! Frames out of bytes that arrive in pieces.

use bytes::{Buf as _, BytesMut};

use super::{Frame, FrameError, PREFIX_BYTES, Prefix};

/// Collects bytes and gives frames. It holds no more memory than one frame of the largest size, a
/// prefix, and what is pushed between two polls.
///
/// Push what arrived, then poll until `None`. After an error the stream has lost its framing: every
/// later poll gives the same error.
#[derive(Debug)]
pub struct FrameDecoder {
    max_frame_bytes: u32,
    buffer: BytesMut,
    prefix: Option<Prefix>,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// A decoder that refuses bodies over this many bytes.
    #[must_use]
    pub fn new(max_frame_bytes: u32) -> Self {
        Self { max_frame_bytes, buffer: BytesMut::new(), prefix: None, failed: None }
    }

    /// Sets another limit, which holds from the next prefix on.
    pub fn set_max_frame_bytes(&mut self, max_frame_bytes: u32) {
        self.max_frame_bytes = max_frame_bytes;
    }

    /// Appends bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.make_room(bytes.len());
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next complete frame, or `None` until more arrives.
    ///
    /// # Errors
    ///
    /// Bytes that are no frame.
    pub fn poll(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.try_poll().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// Whether a frame has begun and is not complete.
    #[must_use]
    pub fn is_within_frame(&self) -> bool {
        self.prefix.is_some() || !self.buffer.is_empty()
    }

    /// Bytes of memory held for what was pushed and is in no frame yet, and for the rest of the frame
    /// that has begun.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn try_poll(&mut self) -> Result<Option<Frame>, FrameError> {
        let prefix = match self.prefix {
            Some(prefix) => prefix,
            None => match self.buffer.first_chunk::<PREFIX_BYTES>() {
                Some(bytes) => {
                    let prefix = Prefix::parse(*bytes, self.max_frame_bytes)?;
                    self.buffer.advance(PREFIX_BYTES);
                    *self.prefix.insert(prefix)
                }
                None => return Ok(None),
            },
        };
        if self.buffer.len() < prefix.body_len() {
            self.make_room(prefix.body_len() - self.buffer.len());
            return Ok(None);
        }
        self.prefix = None;
        let body = self.buffer.split_to(prefix.body_len()).freeze();
        Frame::decode(prefix, body).map(Some)
    }

    /// Makes room for exactly this many more bytes: growth by doubling, as `BytesMut` does it, would
    /// let a peer make this side hold several times the limit.
    fn make_room(&mut self, additional: usize) {
        if !self.buffer.try_reclaim(additional) {
            let mut larger = BytesMut::with_capacity(self.buffer.len() + additional);
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
    }
}
