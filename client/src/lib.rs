//! The async client library of the Waypost message router.
//!
//! A [`Client`] is a connection over QUIC that is made again when it is lost. A [`Publisher`] batches
//! messages and says of each what became of it; a [`Subscriber`] is a stream of messages.
//!
//! # Connect
//!
//! The router's certificate is checked against an authority that is named; a router that made itself a
//! development certificate logs at start-up where its authority's file is.
//!
//! ```no_run
//! use waypost_client::{Client, ClientOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let options = ClientOptions::new("127.0.0.1:4433").ca_file(".waypost/tls/ca.pem")?;
//! let client = Client::connect(options).await?;
//! # client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Publish
//!
//! [`Publisher::publish`] waits while as much is under way as [`PublisherOptions`] allow, which is how the
//! router's pressure reaches the application. What it gives is a [`Receipt`], a future that resolves to
//! exactly one [`Outcome`]: committed, rejected with a code, or unknown when the connection was lost before
//! the result came. Whoever sends much awaits receipts later, not one by one.
//!
//! ```no_run
//! use waypost_client::{Client, Message, Outcome, PublisherOptions};
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let publisher = client.publisher(PublisherOptions::default()).await?;
//! let message = Message::new("orders.eu.created", b"{\"total\": 12}")
//!     .key(b"customer-7")
//!     .header("content-type", "application/json")?;
//! let receipt = publisher.publish(message).await?;
//! match receipt.await {
//!     Outcome::Committed { .. } => {}
//!     Outcome::Rejected { code, message } => eprintln!("refused with {code}: {message}"),
//!     Outcome::Unknown { reason } => eprintln!("perhaps taken: {reason}"),
//! }
//! publisher.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Subscribe
//!
//! The router sends ahead as much as [`SubscriberOptions`] grant; consuming grants more. A subscriber that
//! consumes nothing for longer than the router allows ends with `SLOW_CONSUMER`.
//!
//! ```no_run
//! use waypost_client::{Client, SubscriberOptions};
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let mut subscriber = client.subscribe("orders.*.created", SubscriberOptions::default()).await?;
//! while let Some(message) = subscriber.recv().await {
//!     let message = message?;
//!     println!("{}: {} bytes", message.topic(), message.payload().len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Share work
//!
//! The members of a group share the messages of a pattern: each goes to one of them, until it says what becomes of
//! it. One that is not settled comes again: when its member leaves, or when its lease is over. Over streams a group
//! goes on where it was, whoever comes and goes.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use waypost_client::{Client, MemberOptions};
//!
//! # fn send(_: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let mut member = client.join("mailers", "jobs.mail.>", MemberOptions::default()).await?;
//! while let Some(job) = member.recv().await {
//!     let job = job?;
//!     match send(job.payload()) {
//!         Ok(()) => job.ack(),
//!         Err(_) if job.attempt() < 3 => job.nack(Some(Duration::from_secs(5))),
//!         Err(error) => job.reject(&error.to_string()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Request and reply
//!
//! [`Client::request`] publishes a message that asks for a reply and resolves to the first one, or to why
//! there is none: nobody answers on the topic, the time is over, or the connection was lost. A responder is
//! a subscriber that replies with a publisher; what goes through a route on its way is still a request.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use waypost_client::{Client, Message, PublisherOptions, RequestError, SubscriberOptions};
//!
//! # async fn requester(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let message = Message::new("prices.get", b"coffee");
//! match client.request(message, Duration::from_secs(1)).await {
//!     Ok(reply) => println!("{} bytes", reply.payload().len()),
//!     Err(RequestError::NoResponder { topic }) => eprintln!("nobody answers on {topic}"),
//!     Err(other) => return Err(other.into()),
//! }
//! # Ok(())
//! # }
//!
//! # async fn responder(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let mut requests = client.subscribe("prices.get", SubscriberOptions::default()).await?;
//! let publisher = client.publisher(PublisherOptions::default()).await?;
//! while let Some(request) = requests.recv().await {
//!     let request = request?;
//!     if request.reply_to().is_some() {
//!         // The receipt says whether the requester was still there, should that matter.
//!         drop(publisher.reply(&request, b"4.20").await?);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # When the connection is lost
//!
//! The client connects again with exponential backoff and full jitter, as [`Reconnect`] says; it does so as
//! well when the router announces that it stops. Publishers go on with what they had not sent, and
//! subscriptions are taken up again. On memory topics two things follow from that: what was sent without a
//! result ends as unknown, unless [`PublisherOptions::resend_unknown`] sends it again, perhaps twice; and
//! what was published while a subscriber was away is missing, which [`Subscriber::reconnects`] tells.
#![forbid(unsafe_code)]

mod backoff;
mod client;
mod error;
mod group;
mod link;
mod options;
mod publish;
mod request;
mod subscribe;
mod task;

pub use waypost_protocol::{
    Batch, BatchBuilder, BatchError, ConnectionId, Envelope, Epoch, ErrorCode, HeaderError,
    Headers, HeadersBuilder, Limits, Offset, Pattern, PatternError, ProducerId, Topic, TopicError,
};

pub use self::{
    backoff::Reconnect,
    client::{Client, Status},
    error::{AuthorityError, ConnectError, Disconnected, RouterCode},
    group::{Delivery, GroupStart, Member, MemberOptions, SettleError},
    options::ClientOptions,
    publish::{
        Message, Outcome, ProducerIdentity, PublishError, Publisher, PublisherOptions, Receipt,
    },
    request::RequestError,
    subscribe::{Delivered, DeliveredBatch, From, SubscribeError, Subscriber, SubscriberOptions},
};
