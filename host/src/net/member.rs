//! The stream of a member of a group: deliveries under leases out, credit and acknowledgements in.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::oneshot;
use waypost_core::{Credit, GroupName};
use waypost_protocol::{
    ErrorCode, Frame, Inbox, Pattern,
    frame::{Acknowledge, Acknowledged, Deliver, Join, Subscribe, Subscribed},
};

use super::{
    connection::{Peer, unexpected},
    frames::{FrameReader, FrameWriter, Violation},
    subscription::CONTROL_BYTES,
};
use crate::{
    groups::{Answer, Given, JoinGroup, MemberEvent, Membership},
    streams::Refused,
};

/// Refusals that one frame carries.
const MOST_REFUSALS: usize = 256;
/// What a member is called is cut to so many characters.
const LONGEST_NAME: usize = 64;

/// Makes the subscription a member, and serves it until it goes.
pub(super) async fn serve(
    peer: &Peer,
    (subscribe, join): (Subscribe, Join),
    pattern: Pattern,
    mut reader: FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), Violation> {
    let group = GroupName::parse(&join.group)
        .map_err(|error| Violation::new(ErrorCode::BadGroup, format!("the group {error}")))?;
    if Inbox::covers(pattern.as_str()) {
        let message = "an inbox is for one connection alone";
        return Err(Violation::new(ErrorCode::BadPattern, message));
    }
    let frame_bytes = (peer.limits.max_frame_bytes as usize).saturating_sub(CONTROL_BYTES);
    let join = JoinGroup {
        group,
        pattern,
        from: subscribe.from,
        member: join.member.chars().take(LONGEST_NAME).collect(),
        max_in_flight: join.max_in_flight,
        credit: Credit::new(subscribe.credit_messages, subscribe.credit_bytes),
        frame_bytes,
    };
    let joined = peer.shared.groups.join(join).await;
    let mut membership =
        joined.map_err(|Refused { code, message }| Violation::new(code, message))?;
    let subscribed =
        Subscribed { subscription_id: membership.id().0, joined: Some(membership.joined()) };
    writer.write(&Frame::Subscribed(subscribed)).await?;
    let conversed = converse(peer, &mut membership, &mut reader, writer).await;
    if conversed.is_ok() {
        membership.leave();
    }
    conversed
}

async fn converse(
    peer: &Peer,
    membership: &mut Membership,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), Violation> {
    let most = peer.settings.max_in_flight.max(1);
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(answer) = answers.next(), if !answers.is_empty() => {
                tell(peer, gone(answer)?, writer).await?;
            }
            event = membership.next() => match event {
                Some(MemberEvent::Given(given)) => give(peer, *given, writer).await?,
                Some(MemberEvent::Ended(Refused { code, message })) => {
                    return Err(Violation::new(code, message));
                }
                None => return Err(Violation::Lost),
            },
            frame = reader.next(), if answers.len() < most => match frame? {
                Some(Frame::Credit(more)) => membership.grant(more.messages, more.bytes).await,
                Some(Frame::Acknowledge(acknowledge)) => {
                    answers.push(membership.settle(checked(acknowledge)?).await);
                }
                Some(Frame::Unsubscribe(_)) | None => break,
                Some(_) => {
                    let text = "a member of a group sends credit, acknowledge and unsubscribe";
                    return Err(unexpected(text));
                }
            },
        }
    }
    // What it asked before it went it is told.
    while let Some(answer) = answers.next().await {
        tell(peer, gone(answer)?, writer).await?;
    }
    Ok(())
}

/// A verb of a later version is not to be taken for another.
fn checked(acknowledge: Acknowledge) -> Result<Acknowledge, Violation> {
    if acknowledge.settles.iter().any(|settle| settle.verb.is_none()) {
        return Err(Violation::new(ErrorCode::BadControl, "a settle has no verb that is known"));
    }
    Ok(acknowledge)
}

/// An answer that does not come is one of a group that is no more.
fn gone(answer: Result<Answer, oneshot::error::RecvError>) -> Result<Answer, Violation> {
    answer.map_err(|_| Violation::Lost)
}

async fn give(peer: &Peer, given: Given, writer: &mut FrameWriter) -> Result<(), Violation> {
    let Given { lease, delivery } = given;
    let (envelope, envelope_crc32c) = delivery.envelope.encode();
    let bytes = delivery.batch.byte_len() as u64;
    let deliver = Deliver { envelope, envelope_crc32c, lease: Some(lease) };
    writer.write(&Frame::Deliver(deliver, delivery.batch.as_bytes().clone())).await?;
    peer.shared.metrics.delivered_bytes.inc_by(bytes);
    Ok(())
}

async fn tell(peer: &Peer, answer: Answer, writer: &mut FrameWriter) -> Result<(), Violation> {
    let Answer { request, refusals } = answer;
    for refusal in &refusals {
        if let Some(code) = ErrorCode::from_number(refusal.code) {
            peer.shared.metrics.error(code);
        }
    }
    let mut rest = refusals.as_slice();
    while rest.len() > MOST_REFUSALS {
        let (now, later) = rest.split_at(MOST_REFUSALS);
        rest = later;
        let part = Acknowledged { request, refusals: now.to_vec(), more: true };
        writer.write(&Frame::Acknowledged(part)).await?;
    }
    if request.is_some() || !rest.is_empty() {
        let last = Acknowledged { request, refusals: rest.to_vec(), more: false };
        writer.write(&Frame::Acknowledged(last)).await?;
    }
    Ok(())
}
