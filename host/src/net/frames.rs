//! Frames over QUIC streams, with a bound on half-read ones.

use std::time::Duration;

use bytes::BytesMut;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::time::Instant;
use waypost_protocol::{ErrorCode, Frame, FrameDecoder};

/// What is read from a stream at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Why a conversation ends before its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// The peer broke a rule, and is told which.
    #[error("{code}: {message}")]
    Told { code: ErrorCode, message: String },
    /// The stream or the connection is gone; nobody is there to be told.
    #[error("the peer went away")]
    Lost,
}

impl Violation {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Told { code, message: message.into() }
    }
}

/// The reading side of a stream.
pub(super) struct FrameReader {
    stream: RecvStream,
    decoder: FrameDecoder,
    stalled_after: Duration,
    began: Option<Instant>,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream, max_frame_bytes: u32, stalled_after: Duration) -> Self {
        let decoder = FrameDecoder::new(max_frame_bytes);
        Self { stream, decoder, stalled_after, began: None }
    }

    pub(super) fn set_max_frame_bytes(&mut self, max_frame_bytes: u32) {
        self.decoder.set_max_frame_bytes(max_frame_bytes);
    }

    /// The next frame, or `None` at the end of the stream. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, Violation> {
        loop {
            let frame = self.decoder.poll();
            if let Some(frame) =
                frame.map_err(|error| Violation::new(error.code(), error.to_string()))?
            {
                self.began = None;
                return Ok(Some(frame));
            }
            let read = self.stream.read_chunk(CHUNK_BYTES, true);
            let chunk = if self.decoder.is_within_frame() {
                // From its first byte on: a peer that sends a byte now and then is stalled as well.
                let began = *self.began.get_or_insert_with(Instant::now);
                let Ok(chunk) = tokio::time::timeout_at(began + self.stalled_after, read).await
                else {
                    return Err(Violation::new(
                        ErrorCode::StalledFrame,
                        format!("a frame was not complete after {:?}", self.stalled_after),
                    ));
                };
                chunk
            } else {
                read.await
            };
            match chunk {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                Ok(None) if self.decoder.is_within_frame() => {
                    let message = "the stream ended within a frame";
                    return Err(Violation::new(ErrorCode::BadFrame, message));
                }
                Ok(None) => return Ok(None),
                Err(_) => return Err(Violation::Lost),
            }
        }
    }
}

/// The writing side of a stream.
pub(super) struct FrameWriter {
    stream: SendStream,
    head: BytesMut,
}

impl FrameWriter {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream, head: BytesMut::new() }
    }

    /// Writes a frame, awaiting room in the peer's window. A batch is not copied.
    pub(super) async fn write(&mut self, frame: &Frame) -> Result<(), Violation> {
        let batch = frame.encode_head(&mut self.head);
        let head = self.head.split().freeze();
        let written = match batch {
            Some(batch) => self.stream.write_all_chunks(&mut [head, batch]).await,
            None => self.stream.write_all_chunks(&mut [head]).await,
        };
        written.map_err(|_| Violation::Lost)
    }

    /// Gives the stream up; the peer sees the code's number.
    pub(super) fn reset(&mut self, code: ErrorCode) {
        // A stream that is gone needs no end.
        let _ = self.stream.reset(VarInt::from_u32(code.number()));
    }

    /// Says that there is no more, and waits until the peer has everything or is gone.
    pub(super) async fn finish(&mut self) {
        // A stream that was stopped or lost needs no end.
        if self.stream.finish().is_ok() {
            let _ = self.stream.stopped().await;
        }
    }
}
