//! Identities of different things are different types.

macro_rules! identities {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }
    )+};
}

identities! {
    /// The place of a message in its partition.
    Offset;
    /// Which life of a producer speaks; an older one is fenced.
    Epoch;
    /// The number that a producer gives to a message, counted per partition.
    Sequence;
    /// A producer that publishes with deduplication.
    ProducerId;
    /// A subscription, unique in its router's life.
    SubscriptionId;
    /// A connection, unique in its router's life.
    ConnectionId;
}
