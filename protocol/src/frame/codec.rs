//! Encoding and decoding of one frame.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

use super::{Frame, PREFIX_BYTES};
use crate::ErrorCode;

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The reserved byte is not zero.
    #[error("the reserved byte of a frame's prefix is {0:#04x}, it must be 0")]
    Reserved(u8),
    /// The control part is longer than the body.
    #[error("a frame's control part has {control} bytes, its body has {body}")]
    ControlBeyondBody {
        /// Bytes of the control part.
        control: u16,
        /// Bytes of the body.
        body: u32,
    },
    /// Bytes behind the control part of a kind that carries no batch, or none where there must be.
    #[error("a frame of kind {kind} has {bytes} bytes behind its control part")]
    Data {
        /// The frame's kind.
        kind: u8,
        /// Bytes behind the control part.
        bytes: usize,
    },
    /// The body is larger than the limit.
    #[error("a frame has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// What the prefix says.
        bytes: u32,
        /// What was agreed.
        limit: u32,
    },
    /// The kind is not known.
    #[error("a frame has the unknown kind {0}")]
    UnknownKind(u8),
    /// The control part does not decode.
    #[error("the control part of a frame of kind {kind} does not decode: {source}")]
    Control {
        /// The frame's kind.
        kind: u8,
        /// What the protobuf decoder said.
        source: prost::DecodeError,
    },
    /// The body has another length than its prefix says.
    #[error("a frame's body has {found} bytes, its prefix says {expected}")]
    Length {
        /// What the prefix says.
        expected: u32,
        /// What is there.
        found: usize,
    },
}

impl FrameError {
    /// The code that a peer is told.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Reserved(_)
            | Self::ControlBeyondBody { .. }
            | Self::Data { .. }
            | Self::Length { .. } => ErrorCode::BadFrame,
            Self::TooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::UnknownKind(_) => ErrorCode::UnknownFrame,
            Self::Control { .. } => ErrorCode::BadControl,
        }
    }
}

/// A frame's checked prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    body: u32,
    kind: u8,
    control: u16,
}

impl Prefix {
    /// Checks a prefix before its body is read, so that no more than `max_frame_bytes` is ever held.
    ///
    /// # Errors
    ///
    /// A body over the limit, a control part beyond the body, an unknown kind, a reserved byte set.
    pub fn parse(bytes: [u8; PREFIX_BYTES], max_frame_bytes: u32) -> Result<Self, FrameError> {
        let [b0, b1, b2, b3, kind, reserved, c0, c1] = bytes;
        let body = u32::from_le_bytes([b0, b1, b2, b3]);
        let control = u16::from_le_bytes([c0, c1]);
        if reserved != 0 {
            return Err(FrameError::Reserved(reserved));
        }
        if body > max_frame_bytes {
            return Err(FrameError::TooLarge { bytes: body, limit: max_frame_bytes });
        }
        if u32::from(control) > body {
            return Err(FrameError::ControlBeyondBody { control, body });
        }
        if !(kind::HELLO..=kind::ACKNOWLEDGED).contains(&kind) {
            return Err(FrameError::UnknownKind(kind));
        }
        Ok(Self { body, kind, control })
    }

    /// Bytes of the body, which follows the prefix.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body as usize
    }
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const PUBLISH_RESULT: u8 = 4;
    pub(super) const SUBSCRIBE: u8 = 5;
    pub(super) const SUBSCRIBED: u8 = 6;
    pub(super) const DELIVER: u8 = 7;
    pub(super) const CREDIT: u8 = 8;
    pub(super) const UNSUBSCRIBE: u8 = 9;
    pub(super) const PING: u8 = 10;
    pub(super) const PONG: u8 = 11;
    pub(super) const GOING_AWAY: u8 = 12;
    pub(super) const ERROR: u8 = 13;
    pub(super) const OPEN_PRODUCER: u8 = 14;
    pub(super) const PRODUCER_OPENED: u8 = 15;
    pub(super) const ACKNOWLEDGE: u8 = 16;
    pub(super) const ACKNOWLEDGED: u8 = 17;
}

impl Frame {
    /// Decodes the body that follows a prefix. A batch stays a slice of it.
    ///
    /// # Errors
    ///
    /// A body of another length, a control part that does not decode, data where none belongs.
    pub fn decode(prefix: Prefix, mut body: Bytes) -> Result<Self, FrameError> {
        if body.len() != prefix.body_len() {
            return Err(FrameError::Length { expected: prefix.body, found: body.len() });
        }
        let control = body.split_to(usize::from(prefix.control));
        let carries_batch = matches!(prefix.kind, kind::PUBLISH | kind::DELIVER);
        if carries_batch == body.is_empty() {
            return Err(FrameError::Data { kind: prefix.kind, bytes: body.len() });
        }
        let control = Control { kind: prefix.kind, bytes: control };
        Ok(match prefix.kind {
            kind::HELLO => Self::Hello(control.decode()?),
            kind::WELCOME => Self::Welcome(control.decode()?),
            kind::PUBLISH => Self::Publish(control.decode()?, body),
            kind::PUBLISH_RESULT => Self::PublishResult(control.decode()?),
            kind::SUBSCRIBE => Self::Subscribe(control.decode()?),
            kind::SUBSCRIBED => Self::Subscribed(control.decode()?),
            kind::DELIVER => Self::Deliver(control.decode()?, body),
            kind::CREDIT => Self::Credit(control.decode()?),
            kind::UNSUBSCRIBE => Self::Unsubscribe(control.decode()?),
            kind::PING => Self::Ping(control.decode()?),
            kind::PONG => Self::Pong(control.decode()?),
            kind::GOING_AWAY => Self::GoingAway(control.decode()?),
            kind::ERROR => Self::Error(control.decode()?),
            kind::OPEN_PRODUCER => Self::OpenProducer(control.decode()?),
            kind::PRODUCER_OPENED => Self::ProducerOpened(control.decode()?),
            kind::ACKNOWLEDGE => Self::Acknowledge(control.decode()?),
            kind::ACKNOWLEDGED => Self::Acknowledged(control.decode()?),
            unknown => return Err(FrameError::UnknownKind(unknown)),
        })
    }

    /// Appends the prefix and the control part. Gives the batch, if there is one, which the caller
    /// writes next; so it is never copied.
    ///
    /// A text in a control part is ours or was bounded by the frame that brought it; one beyond 64 KiB
    /// would not fit the prefix, and its frame is replaced by an `INTERNAL` error.
    pub fn encode_head(&self, out: &mut BytesMut) -> Option<Bytes> {
        let (number, control, batch): (u8, &dyn Encode, Option<&Bytes>) = match self {
            Self::Hello(control) => (kind::HELLO, control, None),
            Self::Welcome(control) => (kind::WELCOME, control, None),
            Self::Publish(control, batch) => (kind::PUBLISH, control, Some(batch)),
            Self::PublishResult(control) => (kind::PUBLISH_RESULT, control, None),
            Self::Subscribe(control) => (kind::SUBSCRIBE, control, None),
            Self::Subscribed(control) => (kind::SUBSCRIBED, control, None),
            Self::Deliver(control, batch) => (kind::DELIVER, control, Some(batch)),
            Self::Credit(control) => (kind::CREDIT, control, None),
            Self::Unsubscribe(control) => (kind::UNSUBSCRIBE, control, None),
            Self::Ping(control) => (kind::PING, control, None),
            Self::Pong(control) => (kind::PONG, control, None),
            Self::GoingAway(control) => (kind::GOING_AWAY, control, None),
            Self::Error(control) => (kind::ERROR, control, None),
            Self::OpenProducer(control) => (kind::OPEN_PRODUCER, control, None),
            Self::ProducerOpened(control) => (kind::PRODUCER_OPENED, control, None),
            Self::Acknowledge(control) => (kind::ACKNOWLEDGE, control, None),
            Self::Acknowledged(control) => (kind::ACKNOWLEDGED, control, None),
        };
        let length = control.length();
        let data = batch.map_or(0, Bytes::len);
        let (Ok(control_len), Ok(body)) = (u16::try_from(length), u32::try_from(length + data))
        else {
            let text = format!("a frame of kind {number} is too large to encode");
            return Self::error(ErrorCode::Internal, text).encode_head(out);
        };
        out.reserve(PREFIX_BYTES + length);
        out.put_u32_le(body);
        out.put_u8(number);
        out.put_u8(0);
        out.put_u16_le(control_len);
        control.write(out);
        batch.cloned()
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut BytesMut) {
        if let Some(batch) = self.encode_head(out) {
            out.put_slice(&batch);
        }
    }
}

struct Control {
    kind: u8,
    bytes: Bytes,
}

impl Control {
    fn decode<M: Message + Default>(self) -> Result<M, FrameError> {
        let kind = self.kind;
        M::decode(self.bytes).map_err(|source| FrameError::Control { kind, source })
    }
}

/// `prost::Message` for any control part, without a copy for each kind.
trait Encode {
    fn length(&self) -> usize;
    fn write(&self, out: &mut BytesMut);
}

impl<M: Message> Encode for M {
    fn length(&self) -> usize {
        self.encoded_len()
    }

    fn write(&self, out: &mut BytesMut) {
        self.encode_raw(out);
    }
}
