//! The least framing there is: a length before each batch.

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{RecvStream, SendStream};

/// What is read from a stream at once, as the router does.
const CHUNK_BYTES: usize = 256 * 1024;
/// Frames here are batches of the workload; a length beyond this is no length.
const MOST_BYTES: usize = 64 << 20;

/// Takes frames off a stream. A frame is a slice of what was read.
pub(crate) struct Frames {
    stream: RecvStream,
    buffer: BytesMut,
}

impl Frames {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame with its length before it, or `None` at the end of the stream. Dropping the
    /// future loses nothing.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(CHUNK_BYTES, true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => anyhow::bail!("the stream ended within a frame"),
            }
        }
    }

    fn take(&mut self) -> anyhow::Result<Option<Bytes>> {
        let Some(length) = self.buffer.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
            return Ok(None);
        };
        let whole = length as usize + size_of::<u32>();
        anyhow::ensure!(whole <= MOST_BYTES, "a frame of {whole} bytes");
        if self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        Ok(Some(self.buffer.split_to(whole).freeze()))
    }
}

/// What stands behind a frame's length.
pub(crate) fn body(mut frame: Bytes) -> Bytes {
    frame.advance(size_of::<u32>());
    frame
}

/// Writes a body with its length before it, awaiting room in the peer's window.
pub(crate) async fn write(stream: &mut SendStream, body: Bytes) -> anyhow::Result<()> {
    let length = Bytes::copy_from_slice(&u32::try_from(body.len())?.to_le_bytes());
    stream.write_all_chunks(&mut [length, body]).await?;
    Ok(())
}
