//! What is kept of attempts to connect before anybody looks at them, on the endpoint's own state machine.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use quinn_proto::{ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Incoming};

use super::*;
use crate::net::{listening::Prepared, tls::Source};

/// What one attempt may leave behind its first packet, and all of them, in bytes; docs/configuration.md says so.
const OF_ONE: u64 = 16 << 10;
const OF_ALL: u64 = 4 << 20;
const ATTEMPTS: usize = 1024;

/// An endpoint as the router configures it, at which attempts come that nobody looks at.
struct Waiting {
    endpoint: Endpoint,
    clients: Endpoint,
    client: ClientConfig,
    incoming: Vec<Incoming>,
}

impl Waiting {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let metrics = NetMetrics::register(&prometheus::Registry::new()).expect("a new registry");
        let source = Source::of(None, state.path()).expect("a development certificate");
        let ca = source.ca.clone().expect("it has an authority");
        let prepared = Prepared::new(source, quinn::TransportConfig::default(), &metrics);
        let server = Arc::new(prepared.expect("it can be used").config);
        let config = Arc::new(EndpointConfig::default());
        Self {
            endpoint: Endpoint::new(config.clone(), Some(server), true, None),
            clients: Endpoint::new(config, None, true, None),
            client: client_config(&ca, ALPN),
            incoming: Vec::new(),
        }
    }

    /// A client's first packet.
    fn first_packet(&mut self) -> Vec<u8> {
        let (now, server) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], 4433)));
        let connecting = self.clients.connect(now, self.client.clone(), server, "localhost");
        let (_, mut connection) = connecting.expect("a good address");
        let mut packet = Vec::new();
        let begun = connection.poll_transmit(now, 1, &mut packet).is_some();
        assert!(begun, "a client begins");
        packet
    }

    /// A packet comes. Gives how many bytes are kept of all attempts then.
    fn come(&mut self, packet: &[u8]) -> u64 {
        let (now, client) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], 50_000)));
        let mut answer = Vec::new();
        let event = self.endpoint.handle(now, client, None, None, packet.into(), &mut answer);
        if let Some(DatagramEvent::NewConnection(incoming)) = event {
            self.incoming.push(incoming);
        }
        self.endpoint.incoming_buffer_bytes()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for incoming in self.incoming.drain(..) {
            self.endpoint.ignore(incoming);
        }
    }
}

#[test]
fn of_one_attempt_that_nobody_has_looked_at_little_is_kept() {
    let mut waiting = Waiting::new();
    let packet = waiting.first_packet();
    assert_eq!(waiting.come(&packet), 0, "its first packet is kept apart");
    let kept: Vec<u64> = (0..100).map(|_| waiting.come(&packet)).collect();
    let bytes = packet.len() as u64;
    assert_eq!(kept.last(), Some(&(OF_ONE / bytes * bytes)), "as many packets as fit");
    assert_eq!(waiting.incoming.len(), 1);
}

#[test]
fn of_all_attempts_together_no_more_is_kept_however_many_come() {
    let mut waiting = Waiting::new();
    let mut most = 0;
    for _ in 0..400 {
        let packet = waiting.first_packet();
        for _ in 0..15 {
            most = most.max(waiting.come(&packet));
        }
    }
    assert!(most <= OF_ALL, "{most}");
    assert!(most > OF_ALL - (2 << 10), "the last packet that fits is kept: {most}");
    while waiting.incoming.len() < ATTEMPTS {
        let packet = waiting.first_packet();
        waiting.come(&packet);
    }
    let packet = waiting.first_packet();
    waiting.come(&packet);
    assert_eq!(waiting.incoming.len(), ATTEMPTS, "a further attempt is not kept");
}
