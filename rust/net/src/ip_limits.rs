//! At most so many connections from one IP address (IPv4) or one /64 network (IPv6, where a whole
//! one belongs to every customer).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::address;

/// Incoming connections of one address, established or not.
pub(crate) const MAX_PER_IP: usize = 24;
/// Those of them that are still being set up.
pub(crate) const MAX_PENDING_PER_IP: usize = 8;

#[derive(Debug, thiserror::Error)]
#[error("too many connections from one IP address")]
struct TooMany;

/// Counts by address. Bounded by the limits on all connections, which are asked first.
#[derive(Debug, Default)]
pub(crate) struct IpLimits {
    incoming: HashMap<ConnectionId, (u128, bool)>,
}

/// The group that an address is counted in: none for loopback, as a whole swarm on one machine is a
/// use of its own, nor for relayed connections, which their relay counts.
fn group(remote: &Multiaddr) -> Option<u128> {
    if address::is_relayed(remote) {
        return None;
    }
    match address::ip(remote)? {
        ip if ip.is_loopback() => None,
        IpAddr::V4(ip) => Some(ip.to_ipv6_mapped().to_bits()),
        IpAddr::V6(ip) => Some(ip.to_bits() >> 64 << 64),
    }
}

impl NetworkBehaviour for IpLimits {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(group) = group(remote) else {
            return Ok(());
        };
        let of_group = self.incoming.values().filter(|(other, _)| *other == group);
        let (all, pending) = of_group.fold((0, 0), |(all, pending), (_, established)| {
            (all + 1, pending + usize::from(!established))
        });
        if all >= MAX_PER_IP || pending >= MAX_PENDING_PER_IP {
            return Err(ConnectionDenied::new(TooMany));
        }
        self.incoming.insert(connection, (group, false));
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if let Some((_, established)) = self.incoming.get_mut(&connection) {
            *established = true;
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let over = match event {
            FromSwarm::ConnectionClosed(closed) => closed.connection_id,
            FromSwarm::ListenFailure(failed) => failed.connection_id,
            _ => return,
        };
        self.incoming.remove(&over);
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(limits: &mut IpLimits, number: usize, from: &str) -> bool {
        let remote: Multiaddr = from.parse().unwrap();
        let connection = ConnectionId::new_unchecked(number);
        limits
            .handle_pending_inbound_connection(connection, &remote, &remote)
            .is_ok()
    }

    fn stand(limits: &mut IpLimits, number: usize) {
        let any: Multiaddr = "/ip4/1.2.3.4/tcp/1".parse().unwrap();
        let connection = ConnectionId::new_unchecked(number);
        limits
            .handle_established_inbound_connection(connection, PeerId::random(), &any, &any)
            .unwrap();
    }

    #[test]
    fn one_address_gets_its_share_and_no_more() {
        let mut limits = IpLimits::default();
        let mut let_in = 0;
        for number in 0..100 {
            if come(&mut limits, number, "/ip4/1.2.3.4/tcp/1") {
                let_in += 1;
                if let_in % MAX_PENDING_PER_IP == 0 {
                    (0..=number).for_each(|number| stand(&mut limits, number));
                }
            }
        }
        assert_eq!(let_in, MAX_PER_IP);
        assert!(come(&mut limits, 200, "/ip4/1.2.3.5/tcp/1"));
        assert_eq!(limits.incoming.len(), MAX_PER_IP + 1);
    }

    #[test]
    fn a_flood_of_half_open_connections_stops_early() {
        let mut limits = IpLimits::default();
        let from = |number: usize| format!("/ip6/2001:db8::{number:x}/udp/1/quic-v1");
        let let_in = (0..100)
            .filter(|n| come(&mut limits, *n, &from(*n)))
            .count();
        assert_eq!(let_in, MAX_PENDING_PER_IP);
        assert!(come(&mut limits, 200, "/ip6/2001:db8:0:1::1/tcp/1"));
        assert!((300..400).all(|n| come(&mut limits, n, "/ip4/127.0.0.1/tcp/1")));
    }
}
