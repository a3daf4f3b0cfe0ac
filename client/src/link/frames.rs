//! Frames over QUIC streams.

use std::time::Duration;

use bytes::BytesMut;
use quinn::{RecvStream, SendStream, VarInt};
use waypost_protocol::{ErrorCode, Frame, FrameDecoder};

use crate::RouterCode;

/// What is read from a stream at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Why a conversation ends before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The stream or the connection is gone.
    Lost,
    /// The router did not answer within this time.
    Late(Duration),
    /// The router ended it with a reason.
    Refused { code: RouterCode, message: String },
    /// The router broke the protocol; the connection is closed with this code.
    Violation { code: ErrorCode, message: String },
}

impl Broken {
    pub(crate) fn violation(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Violation { code, message: message.into() }
    }

    /// What a frame means that has no place where it came.
    pub(crate) fn by(frame: Frame, place: &str) -> Self {
        match frame {
            Frame::Error(error) => {
                Self::Refused { code: RouterCode::from_number(error.code), message: error.message }
            }
            _ => Self::violation(
                ErrorCode::UnexpectedFrame,
                format!("the router sent a frame that does not belong on {place}"),
            ),
        }
    }
}

/// The reading side of a stream.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: RecvStream,
    decoder: FrameDecoder,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, max_frame_bytes: u32) -> Self {
        Self { stream, decoder: FrameDecoder::new(max_frame_bytes) }
    }

    pub(crate) fn set_max_frame_bytes(&mut self, max_frame_bytes: u32) {
        self.decoder.set_max_frame_bytes(max_frame_bytes);
    }

    /// The next frame, or `None` at the end of the stream. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Broken> {
        loop {
            let frame = self
                .decoder
                .poll()
                .map_err(|error| Broken::violation(error.code(), error.to_string()))?;
            if frame.is_some() {
                return Ok(frame);
            }
            match self.stream.read_chunk(CHUNK_BYTES, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                Ok(None) if self.decoder.is_within_frame() => {
                    let message = "the router ended a stream within a frame";
                    return Err(Broken::violation(ErrorCode::BadFrame, message));
                }
                Ok(None) => return Ok(None),
                Err(_) => return Err(Broken::Lost),
            }
        }
    }
}

/// The writing side of a stream.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    stream: SendStream,
    head: BytesMut,
    within_frame: bool,
}

impl FrameWriter {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self { stream, head: BytesMut::new(), within_frame: false }
    }

    /// Writes a frame, awaiting room in the router's window. A batch is not copied. When the future
    /// is dropped before its end, the stream is of no more use.
    pub(crate) async fn write(&mut self, frame: &Frame) -> Result<(), Broken> {
        let batch = frame.encode_head(&mut self.head);
        let head = self.head.split().freeze();
        self.within_frame = true;
        let written = match batch {
            Some(batch) => self.stream.write_all_chunks(&mut [head, batch]).await,
            None => self.stream.write_all_chunks(&mut [head]).await,
        };
        written.map_err(|_| Broken::Lost)?;
        self.within_frame = false;
        Ok(())
    }

    /// Says that there is no more.
    pub(crate) fn finish(&mut self) {
        // A stream that was stopped or lost needs no end.
        let _ = self.stream.finish();
    }
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        // A dropped stream ends as if it were complete. Half a frame would then cost the whole
        // connection, a reset costs this stream alone.
        if self.within_frame {
            let _ = self.stream.reset(VarInt::from_u32(0));
        }
    }
}
