//! The responder's side: what a message asks for, and the reply to it.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use waypost_protocol::{Inbox, request};

use crate::{Delivered, Message, PublishError, Publisher, Receipt};

impl Delivered {
    /// The inbox that a reply goes to; `None` when none is wanted. A request that names any other
    /// topic is none, or it could make its responder publish anywhere.
    #[must_use]
    pub fn reply_to(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.headers().get(request::REPLY_TO)?).ok()?;
        Inbox::parse(text).is_ok().then_some(text)
    }

    /// When the requester stops waiting by its own clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        std::str::from_utf8(self.headers().get(request::DEADLINE)?).ok()?.parse().ok()
    }

    /// How long the requester still waits, should its clock and this one agree; zero when it has
    /// stopped, and `None` when the message has no deadline.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Duration::from_millis(self.deadline_ms()?).saturating_sub(now))
    }
}

impl<'a> Message<'a> {
    /// The reply to a request; `None` when the message is none.
    #[must_use]
    pub fn reply(request: &Delivered, payload: impl Into<Cow<'a, [u8]>>) -> Option<Self> {
        let reply = Self::new(request.reply_to()?.to_owned(), payload);
        match request.headers().get(request::CORRELATION) {
            Some(correlation) => reply.header(request::CORRELATION, correlation).ok(),
            None => Some(reply),
        }
    }
}

impl Publisher {
    /// Takes the reply to a request for publishing, awaiting room. When the requester has gone, its
    /// outcome is `NO_RESPONDER`, or committed as unrouted in a batch with replies to others.
    ///
    /// # Errors
    ///
    /// A message that is no request; a reply over the limits agreed with the router; a closed
    /// publisher. Nothing was sent.
    pub async fn reply(
        &self,
        request: &Delivered,
        payload: impl AsRef<[u8]>,
    ) -> Result<Receipt, PublishError> {
        let reply = Message::reply(request, payload.as_ref()).ok_or(PublishError::NoRequest)?;
        self.publish(reply).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use waypost_protocol::{BatchBuilder, HeadersBuilder};

    use super::*;
    use crate::DeliveredBatch;

    const INBOX: &str = "$inbox.7-000000000000000000000000000000ff";

    fn delivered(headers: &[(&str, &str)]) -> Delivered {
        let mut encoded = HeadersBuilder::new();
        for (name, value) in headers {
            encoded.push(name, value.as_bytes()).expect("a good header");
        }
        let mut builder = BatchBuilder::new();
        builder.push("a", None, encoded.as_bytes(), b"", 0).expect("it fits");
        let batch = builder.finish().expect("there is a message");
        Delivered::new(Arc::new(DeliveredBatch { batch, envelope: Arc::default() }), 0)
    }

    #[test]
    fn a_reply_goes_to_the_inbox_with_the_requests_correlation() {
        let request = delivered(&[
            (request::REPLY_TO, INBOX),
            (request::CORRELATION, "\u{fffd}41"),
            (request::DEADLINE, "42"),
        ]);
        let reply = Message::reply(&request, b"yes").expect("it is a request");
        assert_eq!(reply.topic(), INBOX);
        let mut expected = HeadersBuilder::new();
        expected.push(request::CORRELATION, "\u{fffd}41".as_bytes()).expect("a good header");
        assert_eq!(reply.headers.as_bytes(), expected.as_bytes());
        assert_eq!((request.deadline_ms(), request.time_left()), (Some(42), Some(Duration::ZERO)));
    }

    #[test]
    fn a_message_that_names_no_inbox_is_no_request() {
        for headers in
            [&[][..], &[(request::REPLY_TO, "orders.delete")], &[(request::REPLY_TO, "$dead.a")]]
        {
            let message = delivered(headers);
            assert!(message.reply_to().is_none() && Message::reply(&message, b"").is_none());
            assert!(message.deadline_ms().is_none() && message.time_left().is_none());
        }
    }
}
