//! Waypost's decisions as pure functions and state machines: no IO, no clock, no randomness, no
//! task. Time and random numbers are arguments.
#![forbid(unsafe_code)]

mod backlog;
mod breaker;
mod chain;
mod credit;
mod dead_letter;
mod durable;
mod explain;
mod group;
mod incoming;
mod isolation;
mod lane;
mod letter;
mod lifetime;
mod producer;
mod reports;
mod retention;
mod retry;
mod rollback;
mod route;
mod stream;
mod streams;
mod table;
mod tap;
mod topic_rules;
mod traced;
mod verdict;

pub use backlog::{Backlog, Dropped, Offered, QueueLimits};
pub use breaker::{Admission, Breaker, BreakerPolicy, BreakerState};
pub use chain::{Lineage, Link, MAX_HOPS, chained_lane_of, circles};
pub use credit::{Credit, CreditExceeded};
pub use dead_letter::{DeadLetterError, DeadLetters, Failure, letter_limits};
pub use durable::{
    Advance, Flight, FlightAnswer, KeptOutput, Output, Progress, SettledOutputs, keep_outputs,
    outputs_before,
};
pub use explain::{MetRoute, routes_met};
pub use group::{
    Candidate, Cause, Crew, CrewError, Dead, FailedMessage, GroupLedger, GroupMessage, GroupPolicy,
    GroupPosition, LeaseId, MemberId, MemberLoad, Offer, OffsetRange, Ranges, Returned,
    SettleError, Stand, Verb, assign, share,
};
pub use incoming::{Attempt, IncomingAction, IncomingLoad, IncomingPolicy};
pub use isolation::{AfterFailure, DEFAULT_FAILED_CALLS, Isolation};
pub use lane::lane_of;
pub use letter::{
    AddressError, Giver, LETTER_TOPICS, Letter, LetterAddress, LetterFilter, MAX_SETTLED_RANGES,
    SettledLetters, TooScattered,
};
pub use lifetime::{BadLifetime, Lifetime, Lifetimes, Living, check_lifetimes};
pub use producer::{Claim, ClaimVerdict, MAX_RUNS, ProducerState, Run, check_claim};
pub use reports::{Report, Reports};
pub use retention::{Aged, Extent, Retention, Trimmed};
pub use retry::{Parking, Place, RetryPolicy};
pub use rollback::{Counts, RollbackPolicy};
pub use route::{
    BatchPolicy, Destination, GroupName, NameError, PluginName, RouteDefinition, RouteName,
    RouteSetError, RouteStart, StageDefinition, StageName, StreamName, check_routes,
};
pub use stream::{Partition, PartitionIndex};
pub use streams::{Fsync, Misplaced, StreamDefinition, StreamId, StreamTable};
pub use table::{EntryId, RouteTable};
pub use tap::TapBudget;
pub use topic_rules::{OnFull, TopicRule, TopicRules};
pub use traced::{Trace, Traced};
pub use verdict::{
    Change, ChangeColumn, ContractError, Emitted, EmittedMessage, Failed, Folded, OutputLimits,
    Retried, StageOutput, Verdict, fold,
};
