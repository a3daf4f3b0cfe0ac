//! The client against a router that does what each test says, over real QUIC on loopback.
#![forbid(unsafe_code)]

mod connecting;
mod ending;
mod publishing;
mod reconnecting;
mod requesting;
mod router;
mod subscribing;
