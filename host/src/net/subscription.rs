//! A subscription's stream: deliveries within the credit out, credit in.

use waypost_core::Credit;
use waypost_protocol::{
    Batch, ErrorCode, Frame, Pattern,
    frame::{Deliver, Subscribe, Subscribed},
};

use super::{
    connection::{Peer, unexpected},
    frames::{FrameReader, FrameWriter, Violation},
    identity::{Action, permit},
};
use crate::router::{Delivery, Received, Subscription};

/// What a batch adds to the one message in it: header, time, offsets, bitmap.
const BATCH_OVERHEAD_BYTES: u64 = 128;
/// What a deliver frame's control part may take of the frame.
const CONTROL_BYTES: usize = 64 * 1024;

pub(super) async fn serve(
    peer: &Peer,
    subscribe: Subscribe,
    mut reader: FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), Violation> {
    let pattern = Pattern::parse(&subscribe.pattern)
        .map_err(|error| Violation::new(error.code(), error.to_string()))?;
    let least = u64::from(peer.limits.max_message_bytes) + BATCH_OVERHEAD_BYTES;
    if subscribe.credit_messages == 0 || subscribe.credit_bytes < least {
        let message = format!("a subscription needs credit for 1 message and {least} bytes");
        return Err(Violation::new(ErrorCode::CreditTooSmall, message));
    }
    permit(&peer.identity, Action::Subscribe)
        .map_err(|code| Violation::new(code, code.meaning()))?;
    let Some(_seat) = peer.take_seat() else {
        let code = ErrorCode::TooManySubscriptions;
        return Err(Violation::new(code, code.meaning()));
    };
    let mut subscription = peer.shared.router.subscribe(&pattern, peer.shared.settings.queue);
    let subscription_id = subscription.id().0;
    writer.write(&Frame::Subscribed(Subscribed { subscription_id })).await?;
    let credit = Credit::new(subscribe.credit_messages, subscribe.credit_bytes);
    deliver(peer, &mut subscription, credit, &mut reader, writer).await
}

async fn deliver(
    peer: &Peer,
    subscription: &mut Subscription,
    mut credit: Credit,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), Violation> {
    let mut held: Option<Delivery> = None;
    loop {
        if let Some(delivery) = held.take() {
            let (part, rest) = cut(peer, delivery, &credit)?;
            held = rest;
            if let Some(part) = part {
                let bytes = part.batch.byte_len() as u64;
                // The cut was made to fit, so the account covers it.
                credit
                    .take_batch(&part.batch)
                    .map_err(|error| Violation::new(ErrorCode::Internal, error.to_string()))?;
                writer.write(&frame(part)).await?;
                peer.shared.metrics.delivered_bytes.inc_by(bytes);
                continue;
            }
        }
        tokio::select! {
            received = subscription.recv(), if held.is_none() => match received {
                Received::Delivery(delivery) => held = Some(delivery),
                Received::Ended(code) => return Err(Violation::new(code, code.meaning())),
            },
            frame = reader.next() => match frame? {
                Some(Frame::Credit(more)) => credit.grant(more.messages, more.bytes),
                Some(Frame::Unsubscribe(_)) | None => return Ok(()),
                Some(_) => return Err(unexpected("a subscription carries credit and unsubscribe")),
            },
        }
    }
}

fn frame(delivery: Delivery) -> Frame {
    let (envelope, envelope_crc32c) = delivery.envelope.encode();
    Frame::Deliver(Deliver { envelope, envelope_crc32c }, delivery.batch.as_bytes().clone())
}

/// As many of a delivery's messages as credit and frame allow, and the rest.
fn cut(
    peer: &Peer,
    delivery: Delivery,
    credit: &Credit,
) -> Result<(Option<Delivery>, Option<Delivery>), Violation> {
    let frame = (peer.limits.max_frame_bytes as usize).saturating_sub(CONTROL_BYTES);
    let most = usize::try_from(credit.messages()).unwrap_or(usize::MAX);
    let most = most.min(peer.limits.max_batch_messages as usize);
    let bytes = usize::try_from(credit.bytes()).unwrap_or(usize::MAX);
    let Some(count) = fitting(&delivery.batch, most, bytes.min(frame)) else {
        if fitting(&delivery.batch, 1, frame).is_none() {
            let message = "a message is larger than the frame that the client accepts";
            return Err(Violation::new(ErrorCode::MessageTooLarge, message));
        }
        return Ok((None, Some(delivery)));
    };
    let total = u32::try_from(delivery.batch.len()).unwrap_or(u32::MAX);
    if count == total {
        return Ok((Some(delivery), None));
    }
    let part = |from: u32, to: u32| {
        let indices: Vec<u32> = (from..to).collect();
        let batch = delivery.batch.gather(&indices)?;
        Some(Delivery { batch, envelope: delivery.envelope.clone() })
    };
    Ok((part(0, count), part(count, total)))
}

/// How many of the first messages make a batch within these bounds; `None` when not even one does.
fn fitting(batch: &Batch, most: usize, bytes: usize) -> Option<u32> {
    let fits = |count: usize| {
        if count == batch.len() {
            return batch.byte_len() <= bytes;
        }
        let end = |column: waypost_protocol::Column<'_>| column.end(count).unwrap_or(0) as usize;
        let regions = end(batch.topics())
            + end(batch.keys().column())
            + end(batch.headers())
            + end(batch.payloads());
        // Header, one more offset in each of four columns, and what each message has of fixed size.
        regions + 36 + 16 + count * 24 + count.div_ceil(8) <= bytes
    };
    let (mut low, mut high) = (0, most.min(batch.len()));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    u32::try_from(low).ok().filter(|count| *count > 0)
}
