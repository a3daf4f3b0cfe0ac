//! Bodies of requests. They are read for those who showed the token, within a bound, and the bytes of artefacts are there
//! for so many deploys at a time as memory is meant for.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    http::StatusCode,
};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::IntoResponses;

use super::{AdminState, answer::Refused, server::REQUEST_TIMEOUT};

/// The largest body that is no artefact.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;
/// Artefacts that are read or deployed at one time; others wait unread.
const MAX_ARTEFACTS: usize = 2;

/// The body of a request that is no artefact. It comes behind what shows the token.
pub(super) struct Text(pub(super) Vec<u8>);

/// How a request is refused whose body is none of those.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document of the interface is made of it")]
pub(super) enum TextRefused {
    /// The request is larger than any that is understood.
    #[response(status = 413)]
    TooLarge(Refused),
}

/// Places for the bytes of artefacts.
#[derive(Debug, Clone)]
pub(super) struct Uploads(Arc<Semaphore>);

/// An artefact's bytes, with the place that they take until the deploy has ended.
pub(super) struct Upload {
    pub(super) bytes: Vec<u8>,
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// Why there is no body.
pub(super) enum Unread {
    /// It has more bytes than it may have: so many.
    TooLarge(usize),
    /// It took too long to come.
    Slow,
    /// It ended early.
    Broken(axum::Error),
}

impl FromRequest<AdminState> for Text {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &AdminState) -> Result<Self, Refused> {
        let read = read(request.into_body(), MAX_TEXT_BYTES).await;
        read.map(Self).map_err(|unread| match unread {
            Unread::TooLarge(bytes) => {
                let text = format!(
                    "the request has {bytes} bytes, at most {MAX_TEXT_BYTES} are read; ask for less at a time"
                );
                Refused::new(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            Unread::Slow => Refused::new(StatusCode::REQUEST_TIMEOUT, "the request came too slowly"),
            Unread::Broken(error) => error_of(&error),
        })
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_ARTEFACTS)))
    }
}

impl Uploads {
    /// Reads an artefact once there is a place for it.
    ///
    /// # Errors
    ///
    /// It is larger than it may be, ends early, or takes as long as a whole request may.
    pub(super) async fn read(&self, body: Body, limit: usize) -> Result<Upload, Unread> {
        // The semaphore is never closed.
        let place = self.0.clone().acquire_owned().await.ok();
        let reading = tokio::time::timeout(REQUEST_TIMEOUT, read(body, limit));
        let bytes = reading.await.map_err(|_| Unread::Slow)??;
        Ok(Upload { bytes, place })
    }
}

/// How a request is refused whose body ends early.
pub(super) fn error_of(error: &axum::Error) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, format!("the body of the request ended early: {error}"))
}

/// The bytes of a body. One that is too large is read to its end, so that it is known how large, and kept nowhere.
async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Unread> {
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(if told > limit { 0 } else { told });
    let mut length = 0_usize;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(Unread::Broken)?;
        length = length.saturating_add(chunk.len());
        if length.max(told) > limit {
            bytes = Vec::new();
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    if length > limit { Err(Unread::TooLarge(length)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::pin};

    use axum::body::Bytes;
    use futures_util::{FutureExt as _, StreamExt as _, stream};

    use super::*;

    fn body(chunks: &[&'static [u8]]) -> Body {
        let chunks: Vec<_> = chunks.iter().copied().map(Bytes::from_static).collect();
        Body::from_stream(stream::iter(chunks).map(Ok::<_, Infallible>))
    }

    /// A body that does not end.
    fn pending() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
    }

    #[tokio::test]
    async fn an_artefact_is_read_up_to_its_limit_however_it_comes_in_pieces() {
        let uploads = Uploads::default();
        let upload = uploads.read(body(&[b"ab", b"cd"]), 4).await;
        assert!(upload.is_ok_and(|upload| upload.bytes == b"abcd"));
        for too_large in [body(&[b"ab", b"cde"]), body(&[b"abcde", b""]), Body::from("abcde")] {
            let upload = uploads.read(too_large, 4).await;
            assert!(matches!(upload, Err(Unread::TooLarge(5))), "and it is said how large it was");
        }
    }

    #[tokio::test]
    async fn a_third_artefact_is_not_read_before_one_of_two_has_gone() {
        let uploads = Uploads::default();
        let Ok(first) = uploads.read(body(&[b"a"]), 1).await else { panic!("it is small") };
        let mut second = Box::pin(uploads.read(pending(), 1));
        assert!(second.as_mut().now_or_never().is_none(), "it takes its place and waits");
        let mut third = pin!(uploads.read(body(&[b"c"]), 1));
        assert!(third.as_mut().now_or_never().is_none(), "it would be there at once");
        drop(first);
        let Some(Ok(third)) = third.now_or_never() else { panic!("there is a place") };
        let mut fourth = pin!(uploads.read(body(&[b"d"]), 1));
        assert!(fourth.as_mut().now_or_never().is_none());
        drop(second);
        assert!(fourth.now_or_never().is_some(), "whoever hangs up gives the place back");
        drop(third);
    }
}
