//! A subscription's stream: deliveries within the credit out, credit in.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use waypost_core::Credit;
use waypost_protocol::{
    ErrorCode, Frame, Pattern, SubscriptionId,
    frame::{Deliver, Subscribe, Subscribed},
};

use super::{
    connection::{Peer, unexpected},
    frames::{FrameReader, FrameWriter, Violation},
    identity::{Action, permit},
    member,
};
use crate::{
    router::{Delivery, Received, Subscription},
    streams::{Refused, StreamReader},
};

/// What a batch adds to the one message in it: header, time, offsets, bitmap.
const BATCH_OVERHEAD_BYTES: u64 = 128;
/// What a deliver frame's control part may take of the frame.
pub(super) const CONTROL_BYTES: usize = 64 * 1024;

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
    permit(&peer.identity, Action::Subscribe { connection: peer.id, pattern: &pattern })
        .map_err(|refusal| Violation::new(refusal.code, refusal.message))?;
    let Some(_seat) = peer.take_seat() else {
        let code = ErrorCode::TooManySubscriptions;
        return Err(Violation::new(code, code.meaning()));
    };
    if let Some(join) = subscribe.join.clone() {
        return member::serve(peer, (subscribe, join), pattern, reader, writer).await;
    }
    let mut feed = match &subscribe.from {
        None => {
            let router = &peer.shared.router;
            Feed::Live(router.subscribe(peer.id, &pattern, peer.settings.queue))
        }
        Some(from) => {
            let reader = peer.shared.streams.read(&pattern, from).await;
            let reader =
                reader.map_err(|Refused { code, message }| Violation::new(code, message))?;
            Feed::Stream(Box::new(reader), peer.shared.stopping.clone())
        }
    };
    let subscription_id = feed.id().0;
    writer.write(&Frame::Subscribed(Subscribed { subscription_id, joined: None })).await?;
    let credit = Credit::new(subscribe.credit_messages, subscribe.credit_bytes);
    deliver(peer, &mut feed, credit, &mut reader, writer).await
}

async fn deliver(
    peer: &Peer,
    feed: &mut Feed,
    mut credit: Credit,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), Violation> {
    let mut held: Option<Held> = None;
    loop {
        held = held.filter(|held| !held.is_done());
        if let Some(held) = &mut held
            && let Some(part) = held.next(peer, &credit)?
        {
            let bytes = part.batch.byte_len() as u64;
            // The part was cut to fit, so the account covers it.
            credit
                .take_batch(&part.batch)
                .map_err(|error| Violation::new(ErrorCode::Internal, error.to_string()))?;
            let (slow, frame) = (ErrorCode::SlowConsumer, frame(part));
            tokio::select! {
                biased;
                written = writer.write(&frame) => written?,
                // Half a frame was written, so nothing more can be said on this stream.
                () = feed.slow() => {
                    peer.shared.metrics.error(slow);
                    writer.reset(slow);
                    return Err(Violation::Lost);
                }
            }
            feed.progress();
            peer.shared.metrics.delivered_bytes.inc_by(bytes);
            continue;
        }
        tokio::select! {
            delivery = feed.next(held.is_none()) => held = Some(Held { delivery: delivery?, from: 0 }),
            frame = reader.next() => match frame? {
                Some(Frame::Credit(more)) => {
                    credit.grant(more.messages, more.bytes);
                    // Credit is granted for what was consumed, so it is progress.
                    if more.messages > 0 {
                        feed.progress();
                    }
                }
                Some(Frame::Unsubscribe(_)) | None => return Ok(()),
                Some(_) => return Err(unexpected("a subscription carries credit and unsubscribe")),
            },
        }
    }
}

/// Where deliveries come from.
enum Feed {
    /// What comes, through a queue.
    Live(Subscription),
    /// What streams hold, and then what comes to them. It holds nobody up, and so may be as slow as it is.
    Stream(Box<StreamReader>, watch::Receiver<Option<Duration>>),
}

impl Feed {
    fn id(&self) -> SubscriptionId {
        match self {
            Self::Live(subscription) => subscription.id(),
            Self::Stream(reader, _) => reader.id(),
        }
    }

    fn progress(&self) {
        if let Self::Live(subscription) = self {
            subscription.progress();
        }
    }

    /// Resolves when the subscription has ended because it took nothing for too long.
    async fn slow(&mut self) {
        match self {
            Self::Live(subscription) => subscription.slow().await,
            Self::Stream(..) => std::future::pending().await,
        }
    }

    /// The next delivery, or the end. While one is held none is taken, but the end is still seen.
    async fn next(&mut self, takes: bool) -> Result<Delivery, Violation> {
        let ended = |code: ErrorCode| Err(Violation::new(code, code.meaning()));
        match self {
            Self::Live(subscription) if takes => match subscription.recv().await {
                Received::Delivery(delivery) => Ok(delivery),
                Received::Ended(code) => ended(code),
            },
            Self::Live(subscription) => {
                subscription.slow().await;
                ended(ErrorCode::SlowConsumer)
            }
            Self::Stream(reader, stopping) => {
                let next = async {
                    if !takes {
                        std::future::pending::<()>().await;
                    }
                    reader.next().await
                };
                let next = tokio::select! {
                    next = next => next,
                    // Whoever reads goes on where it was with the next router.
                    _ = stopping.wait_for(Option::is_some) => None,
                };
                match next {
                    Some(Ok((batch, envelope))) => {
                        Ok(Delivery { batch, envelope: Arc::new(envelope) })
                    }
                    Some(Err(Refused { code, message })) => Err(Violation::new(code, message)),
                    None => ended(ErrorCode::ShuttingDown),
                }
            }
        }
    }
}

fn frame(delivery: Delivery) -> Frame {
    let (envelope, envelope_crc32c) = delivery.envelope.encode();
    Frame::Deliver(
        Deliver { envelope, envelope_crc32c, lease: None },
        delivery.batch.as_bytes().clone(),
    )
}

/// A delivery of which the messages from `from` on are still to be sent.
struct Held {
    delivery: Delivery,
    from: usize,
}

impl Held {
    fn is_done(&self) -> bool {
        self.from >= self.delivery.batch.len()
    }

    /// As many of the next messages as credit and frame allow; `None` until there is more credit.
    fn next(&mut self, peer: &Peer, credit: &Credit) -> Result<Option<Delivery>, Violation> {
        let frame = (peer.limits.max_frame_bytes as usize).saturating_sub(CONTROL_BYTES);
        let most = usize::try_from(credit.messages()).unwrap_or(usize::MAX);
        let most = most.min(peer.limits.max_batch_messages as usize);
        let bytes = usize::try_from(credit.bytes()).unwrap_or(usize::MAX);
        let Delivery { batch, envelope } = &self.delivery;
        let count = batch.fitting(self.from, most, bytes.min(frame));
        if count == 0 && batch.fitting(self.from, 1, frame) == 0 {
            let message = "a message is larger than the frame that the client accepts";
            return Err(Violation::new(ErrorCode::MessageTooLarge, message));
        }
        let part = batch.part(self.from..self.from + count);
        self.from += count;
        let whole = part.as_ref().is_none_or(|part| part.len() == batch.len());
        let envelope = match envelope.base_offset {
            Some(_) if !whole => Arc::new(envelope.part(self.from - count..self.from)),
            _ => envelope.clone(),
        };
        Ok(part.map(|batch| Delivery { batch, envelope }))
    }
}
