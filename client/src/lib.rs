//! lib
#![forbid(unsafe_code)]

mod backoff;
mod client;
mod error;
mod link;
mod options;
mod publish;
mod subscribe;
mod task;

pub use waypost_protocol::{
    Batch, BatchBuilder, BatchError, ConnectionId, Envelope, ErrorCode, HeaderError, Headers,
    HeadersBuilder, Limits, Offset, Pattern, PatternError, Topic, TopicError,
};

pub use self::{
    backoff::Reconnect,
    client::{Client, Status},
    error::{AuthorityError, ConnectError, Disconnected, RouterCode},
    options::ClientOptions,
    publish::{Message, Outcome, PublishError, Publisher, PublisherOptions, Receipt},
    subscribe::{Delivered, DeliveredBatch, SubscribeError, Subscriber, SubscriberOptions},
};
