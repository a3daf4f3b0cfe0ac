//! Numbered error codes: what a peer is told, what closes a connection, what a dead letter names.
//!
//! The number is what stands on the wire and never changes its meaning. `docs/errors.md` is the
//! table for readers; a test keeps it equal to this one.

macro_rules! error_codes {
    ($($variant:ident = $number:literal $name:literal $effect:ident $meaning:literal $hint:literal)*) => {
        /// What went wrong, as a number that clients in every language understand.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum ErrorCode {$(
            #[doc = $meaning]
            $variant = $number,
        )*}

        impl ErrorCode {
            /// Every code, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in capitals, as logs and dead letters show it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {$(Self::$variant => $name,)*}
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {$(Self::$variant => $meaning,)*}
            }

            /// What to do about it.
            #[must_use]
            pub fn hint(self) -> &'static str {
                match self {$(Self::$variant => $hint,)*}
            }

            /// Whether the connection ends with it; the number is then its close code.
            #[must_use]
            pub fn closes_connection(self) -> bool {
                match self {$(Self::$variant => effect!($effect),)*}
            }
        }
    };
}

macro_rules! effect {
    (closes) => {
        true
    };
    (stays) => {
        false
    };
}

error_codes! {
    BadFrame = 101 "BAD_FRAME" closes "The frame's prefix is malformed." "The peers disagree on the framing; check the client library."
    FrameTooLarge = 102 "FRAME_TOO_LARGE" closes "The frame is larger than the limit agreed in welcome." "Publish smaller batches or raise the frame limit on both sides."
    UnknownFrame = 103 "UNKNOWN_FRAME" closes "The frame's kind is not known." "Use a client of the version that welcome named."
    BadControl = 104 "BAD_CONTROL" closes "The frame's control part does not decode." "Check the client library's protobuf messages."
    UnexpectedFrame = 105 "UNEXPECTED_FRAME" closes "The frame does not belong on this stream, or not yet." "Send hello first; one conversation a stream."
    UnsupportedVersion = 106 "UNSUPPORTED_VERSION" closes "No protocol version is common to both sides." "Upgrade the older side."
    HandshakeTimeout = 107 "HANDSHAKE_TIMEOUT" closes "No complete hello came in time." "Send hello at once after connecting."
    StalledFrame = 108 "STALLED_FRAME" closes "A frame was begun and not completed in time." "Write whole frames; check the network."
    LimitsTooSmall = 109 "LIMITS_TOO_SMALL" closes "The limits in hello are too small to work with." "Raise the client's limits."
    HandshakeFailed = 110 "HANDSHAKE_FAILED" closes "The TLS handshake failed; its alert says why." "Name waypost/1 as the application protocol, and trust the router's authority."
    BadBatch = 201 "BAD_BATCH" closes "The batch's layout is malformed." "Check the client library against the batch layout."
    BatchChecksum = 202 "BATCH_CHECKSUM" closes "The batch's checksum does not match its bytes." "The bytes were changed on their way; check memory and the client library."
    BatchVersion = 203 "BATCH_VERSION" closes "The batch's layout version is not known." "Use a client of the version that welcome named."
    BatchTooLarge = 204 "BATCH_TOO_LARGE" stays "The batch has more messages or bytes than agreed." "Publish smaller batches."
    BadTopic = 205 "BAD_TOPIC" stays "A topic breaks the grammar." "Levels of A-Z a-z 0-9 _ - between dots, at most 16 levels and 255 bytes."
    BadUtf8 = 206 "BAD_UTF8" stays "A header's name is not visible ASCII." "Name headers in visible ASCII."
    MessageTooLarge = 207 "MESSAGE_TOO_LARGE" stays "A message is larger than agreed." "Split it, or carry a reference to its content."
    TooManyHeaders = 208 "TOO_MANY_HEADERS" stays "A message has more headers than agreed." "Put data into the payload."
    CountMismatch = 209 "COUNT_MISMATCH" closes "The frame names another number of messages than its batch holds." "Check the client library."
    BadTtl = 210 "BAD_TTL" stays "A message's time to live is not a whole number of milliseconds from 1 to 3155760000000." "Set the header wp-ttl to such a number in decimal, or leave it out."
    SystemTopic = 301 "SYSTEM_TOPIC" stays "Topics that begin with $ belong to the router." "Publish to a topic of your own."
    BadPattern = 302 "BAD_PATTERN" stays "The pattern breaks the grammar." "A topic with * for one level or a final > for the rest."
    CreditTooSmall = 303 "CREDIT_TOO_SMALL" stays "The subscription's credit could not carry the largest message." "Grant more bytes."
    SlowConsumer = 304 "SLOW_CONSUMER" stays "The subscription took nothing for too long." "Consume faster, or subscribe to less."
    TooManySubscriptions = 305 "TOO_MANY_SUBSCRIPTIONS" stays "The connection has as many subscriptions as it may." "Unsubscribe, or use wider patterns."
    SequenceGap = 306 "SEQUENCE_GAP" closes "The publish frame's first sequence does not follow the last one." "Check the client library."
    NoResponder = 307 "NO_RESPONDER" stays "Nobody listens on the inbox." "The requester has gone; drop the reply."
    UnknownPartition = 308 "UNKNOWN_PARTITION" stays "The stream has no such partition." "Split by the partition counts that welcome named."
    OutOfSequence = 309 "OUT_OF_SEQUENCE" stays "The producer's batch does not follow what it stored in the partition." "Send the batches of a partition in order, again from the first that has no result."
    ProducerFenced = 310 "PRODUCER_FENCED" stays "A newer epoch of the producer was opened." "Another process publishes under this identity; stop this one."
    UnknownProducer = 311 "UNKNOWN_PRODUCER" stays "The producer was not opened, or was forgotten." "Open it anew; what had no result may or may not be stored."
    Misplaced = 312 "MISPLACED" stays "The batch does not belong to the stream or the partition that its frame names, or names none." "Split by topic and key as welcome says; connect again if it has changed."
    NoStream = 313 "NO_STREAM" stays "No stream keeps topics of the pattern." "Subscribe without a place to begin, or to topics that a stream keeps."
    OffsetOutOfRange = 314 "OFFSET_OUT_OF_RANGE" stays "The partition holds no such offset." "Begin at an offset that the message names, or at the beginning."
    BadGroup = 315 "BAD_GROUP" stays "The group's name breaks the grammar." "Name groups by 1 to 64 characters of a-z 0-9 -."
    UnknownGroup = 316 "UNKNOWN_GROUP" stays "There is no such group." "Look for its name among the groups; a group begins when it is joined."
    GroupMismatch = 317 "GROUP_MISMATCH" stays "The group takes the messages of another pattern." "Join it with its own pattern, or join another group."
    StaleLease = 318 "STALE_LEASE" stays "The lease has ended: its time was over, or all of it is settled." "What was open comes again; settle sooner, extend the lease, or let the group have a longer one."
    NeverDelivered = 319 "NEVER_DELIVERED" stays "The place was not delivered under the lease." "Settle places that the lease of a delivery names."
    NoDeadLetters = 320 "NO_DEAD_LETTERS" stays "The group has no place for dead letters, so nothing can be rejected." "Set the group's dead_letter to a topic; for a group over streams to one that a stream keeps."
    GroupEnded = 321 "GROUP_ENDED" stays "The group was deleted." "Join again to begin anew."
    Unauthenticated = 401 "UNAUTHENTICATED" closes "The peer did not prove who it is." "Present a token or a certificate."
    Forbidden = 403 "FORBIDDEN" stays "The identity may not do this." "Ask the operator for the permission."
    Internal = 500 "INTERNAL" stays "The router failed on its own account." "See the router's log."
    ShuttingDown = 501 "SHUTTING_DOWN" stays "The router is stopping." "Connect again; the client library does."
    Overloaded = 502 "OVERLOADED" stays "The router has no room for this now." "Try again after a while."
    TooManyStreams = 503 "TOO_MANY_STREAMS" closes "The connection opened more streams than it may." "Close streams before opening others."
    TooManyConnections = 504 "TOO_MANY_CONNECTIONS" closes "The router has as many connections as it may." "Share connections, or raise the limit."
    TooManyProducers = 505 "TOO_MANY_PRODUCERS" stays "The router knows as many producers as it may." "Reuse identities, or raise the limit."
    StorageFull = 506 "STORAGE_FULL" stays "Less space is free than the router holds in reserve." "Free space, or let streams keep less."
    StorageFenced = 507 "STORAGE_FENCED" stays "A write to storage failed, and nothing more is written." "See the router's log; it starts anew to recover."
    TooManyGroups = 508 "TOO_MANY_GROUPS" stays "The router has as many groups as it may." "Delete groups that nobody needs, or raise the limit."
    TooManyMembers = 509 "TOO_MANY_MEMBERS" stays "The group has as many members as it may." "Let fewer processes join, or raise the limit."
    PluginRejected = 601 "PLUGIN_REJECTED" stays "A plugin rejected the message." "See the dead letter's error text."
    PluginTrap = 602 "PLUGIN_TRAP" stays "A plugin trapped on the batch." "See the backtrace; mend the plugin."
    PluginTimeout = 603 "PLUGIN_TIMEOUT" stays "A plugin ran past its deadline." "Make it faster, or raise its deadline."
    PluginMemory = 604 "PLUGIN_MEMORY" stays "A plugin hit its memory or table limit." "Make it smaller, or raise its limit."
    PluginOutput = 605 "PLUGIN_OUTPUT" stays "A plugin's output is over its limit." "Emit less, or raise the limit."
    PluginContract = 606 "PLUGIN_CONTRACT" stays "A plugin's answer contradicts the contract." "Mend the plugin, or its SDK."
    PluginRetry = 607 "PLUGIN_RETRY" stays "A plugin asked for another try until none was left." "Mend what it waits for, or allow more attempts."
    BadDestination = 608 "BAD_DESTINATION" stays "A message came out of its route without a valid destination." "Set the route's destination, or mend the router plugin."
    HopLimit = 609 "HOP_LIMIT" stays "A message came out of its 16th route for a further one." "Look for the circle of routes, and break it in the plugin that chooses the topic."
    RouteRemoved = 610 "ROUTE_REMOVED" stays "A message's route was taken out of the configuration, or began anew, while the message waited." "Publish the message again, for another route if this one is gone."
    ConsumerRejected = 611 "CONSUMER_REJECTED" stays "A member of a group rejected the message." "See the dead letter's error text."
    AttemptsExhausted = 612 "ATTEMPTS_EXHAUSTED" stays "A group gave the message out as often as it may." "Mend the consumers, or allow more attempts."
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The code of a number, if this version knows it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.name(), self.number())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn table() -> String {
        let mut table = String::from(
            "# Error codes\n\nThe number stands on the wire and is the close code of a connection \
             that ends with it. 6xx are the reasons of dead letters.\n\n\
             | number | name | connection | meaning | what to do |\n| --- | --- | --- | --- | --- |\n",
        );
        for code in ErrorCode::ALL {
            let connection = if code.closes_connection() { "closes" } else { "stays" };
            let (number, name) = (code.number(), code.name());
            let (meaning, hint) = (code.meaning(), code.hint());
            writeln!(table, "| {number} | `{name}` | {connection} | {meaning} | {hint} |")
                .expect("a string takes any text");
        }
        table
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, table()).expect("docs/errors.md is writable");
        }
        let documented = std::fs::read_to_string(path).expect("docs/errors.md stands");
        assert_eq!(documented, table(), "run the test with UPDATE_DOCS=1");
    }

    #[test]
    fn every_number_leads_back_to_its_code_and_none_stands_twice() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }
}
