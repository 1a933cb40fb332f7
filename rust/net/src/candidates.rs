//! AutoNAT's client, kept to addresses that are worth a test.
//!
//! Peers say under which address they see this node, and each such word becomes a candidate that
//! the client keeps for ever. So only global ones reach it (it would otherwise confirm those of the
//! local network, which says nothing), and only so many.

use std::collections::HashSet;
use std::task::{Context, Poll};

use libp2p::autonat::v2::client;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::address;

/// The most addresses tested in the life of an endpoint.
const MAX: usize = 32;

/// The client behind the filter.
#[derive(Default)]
pub(crate) struct Candidates {
    client: client::Behaviour,
    taken: HashSet<Multiaddr>,
}

impl Candidates {
    fn takes(&mut self, address: &Multiaddr) -> bool {
        if !address::is_global(address) || address::is_relayed(address) {
            return false;
        }
        self.taken.contains(address)
            || (self.taken.len() < MAX && self.taken.insert(address.clone()))
    }
}

impl NetworkBehaviour for Candidates {
    type ConnectionHandler = <client::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = client::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.client
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.client
            .handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::NewExternalAddrCandidate(candidate) = &event
            && !self.takes(candidate.addr)
        {
            return;
        }
        self.client.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.client
            .on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.client.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_bounded_number_of_global_addresses() {
        let mut candidates = Candidates::default();
        let taken = (1..1000)
            .map(|port| format!("/ip4/8.8.8.8/tcp/{port}").parse().unwrap())
            .filter(|address| candidates.takes(address))
            .count();
        assert_eq!(taken, MAX);
        assert!(candidates.takes(&"/ip4/8.8.8.8/tcp/1".parse().unwrap()));
        assert!(!Candidates::default().takes(&"/ip4/192.168.1.2/tcp/1".parse().unwrap()));
    }
}
