//! The handle that everything begins with.

use std::{sync::Arc, time::Duration};

use waypost_protocol::{ConnectionId, Limits};

use crate::{
    ClientOptions, ConnectError, Delivered, Disconnected, Member, MemberOptions, Message,
    PublishError, Publisher, PublisherOptions, RequestError, SubscribeError, Subscriber,
    SubscriberOptions,
    link::{Link, LinkState},
    request::Requests,
};

/// A link to one router; cheap to clone.
///
/// One connection carries all publishers and subscribers, each on a stream of its own. It is made
/// again when it is lost, and closed when the last of the client's clones, publishers and
/// subscribers is dropped.
#[derive(Debug, Clone)]
pub struct Client {
    link: Arc<Link>,
    requests: Arc<Requests>,
}

/// How the link stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Status {
    /// There is a connection.
    Connected {
        /// What the router calls it.
        connection: ConnectionId,
        /// The router's name and version.
        router: String,
        /// What both sides agreed on.
        limits: Limits,
        /// How many connections there were before this one.
        reconnects: u64,
    },
    /// The connection was lost, and the next one is being made.
    Reconnecting,
    /// There is no connection any more.
    Disconnected(Disconnected),
}

impl Client {
    /// Connects to a router. This is tried once; a connection that is lost later is made again as
    /// the options say. To be called on a tokio runtime, on which the client's tasks then run.
    ///
    /// # Errors
    ///
    /// Options that lead nowhere, a router that is not there, is not trusted, or refuses. The
    /// error's text says what to do.
    pub async fn connect(options: ClientOptions) -> Result<Self, ConnectError> {
        let requests = Arc::new(Requests::new(options.max_requests));
        Ok(Self { link: Arc::new(Link::connect(options).await?), requests })
    }

    /// Opens a publisher, on a stream of its own.
    ///
    /// # Errors
    ///
    /// There is no connection any more, or the router allows it no more streams.
    pub async fn publisher(&self, options: PublisherOptions) -> Result<Publisher, PublishError> {
        Publisher::open(self.link.clone(), options).await
    }

    /// Subscribes to the topics of a pattern, in which `*` stands for one level and a final `>` for
    /// the rest. Resolves once the router has taken the subscription: what is published from then
    /// on is delivered.
    ///
    /// # Errors
    ///
    /// A pattern that breaks the grammar, a refusal with its code, no connection any more.
    pub async fn subscribe(
        &self,
        pattern: &str,
        options: SubscriberOptions,
    ) -> Result<Subscriber, SubscribeError> {
        Subscriber::open(self.link.clone(), pattern, options).await
    }

    /// Joins a group that takes the topics of a pattern; it begins if it does not exist. Resolves once the router
    /// has let the member in. When the connection is lost the member joins again by itself.
    ///
    /// # Errors
    ///
    /// A pattern that breaks the grammar, a refusal with its code, no connection any more.
    pub async fn join(
        &self,
        group: &str,
        pattern: &str,
        options: MemberOptions,
    ) -> Result<Member, SubscribeError> {
        Member::join(self.link.clone(), group, pattern, options).await
    }

    /// Sends a message as a request and awaits the first reply, at most for `timeout`. Its headers say
    /// where the reply goes and when this side stops waiting. Dropping the future gives the request up.
    ///
    /// All requests of a client share one publisher and one inbox, which the first of them opens.
    ///
    /// # Errors
    ///
    /// Nobody answers on the topic, which is known at once; no reply in time; a lost connection, which
    /// leaves unknown whether the request was taken; a refusal; a message that breaks the grammar or the
    /// limits.
    pub async fn request(
        &self,
        message: Message<'_>,
        timeout: Duration,
    ) -> Result<Delivered, RequestError> {
        self.requests.request(&self.link, message, timeout).await
    }

    /// Replies that came when their request had a reply or was given up; they were dropped.
    #[must_use]
    pub fn late_replies(&self) -> u64 {
        self.requests.late_replies()
    }

    /// How the link stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.link.state() {
            LinkState::Up(session) => Status::Connected {
                connection: ConnectionId(session.welcome.connection_id),
                router: format!(
                    "{} {}",
                    session.welcome.router_name, session.welcome.router_version
                ),
                limits: session.limits,
                reconnects: session.number - 1,
            },
            LinkState::Waiting => Status::Reconnecting,
            LinkState::Down(reason) => Status::Disconnected(reason),
        }
    }

    /// Closes everything in good order: publishers take nothing more and have their results,
    /// subscriptions end, requests without a reply are unknown, then the connection is closed. Without a connection there is nothing to
    /// wait for, and what has no result is unknown. Drop the future to wait no longer, and the
    /// client with its publishers and subscribers to end at once.
    pub async fn close(&self) {
        self.link.close().await;
    }
}
