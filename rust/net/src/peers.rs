//! Who is connected, how, and which of them belong to this swarm.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::slow::Lag;

/// How long a connection may stay without saying what it is.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(15);
/// How long a peer of another swarm may stay: long enough to learn the same of this node.
const FOREIGN_FOR: Duration = Duration::from_secs(1);
/// How long a relayed connection outlives the direct one that replaces it.
const RELAYED_FOR: Duration = Duration::from_secs(3);
/// The most peers of other swarms that are remembered as told of.
const MAX_TOLD: usize = 1024;

/// What is known of a connected peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// It hasn't said yet.
    Unknown(Instant),
    /// It belongs to this swarm.
    Member,
    /// It belongs to another one; since then it is known.
    Foreign(Instant),
}

/// One connection of a member, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The peer, base58.
    pub peer: String,
    /// Where it is reached.
    pub address: String,
    /// Whether all connections to it lead through a relay.
    pub relayed: bool,
    /// Whether this node dialled it.
    pub dialled: bool,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    relayed: bool,
    since: Instant,
}

/// A connected peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) membership: Membership,
    /// The address of the newest connection, or the one that leads to its listener.
    pub(crate) remote: Multiaddr,
    /// Whether it was dialled, so that `remote` leads to its listener.
    pub(crate) dialled: bool,
    /// Whether it refuses messages now.
    pub(crate) lag: Option<Lag>,
    /// Pings in a row that it didn't answer.
    pub(crate) unanswered: u8,
    /// Whether it was dialled directly after it came through a relay.
    pub(crate) straightened: bool,
    // At most as many as one peer may have.
    connections: Vec<Connection>,
}

impl Peer {
    /// Whether all connections lead through a relay.
    pub(crate) fn is_relayed(&self) -> bool {
        self.connections.iter().all(|connection| connection.relayed)
    }
}

/// All connected peers: as many as the connection limits let in.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    connected: HashMap<PeerId, Peer>,
    told: HashSet<PeerId>,
}

impl Peers {
    /// A connection stands.
    pub(crate) fn connected(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        now: Instant,
    ) {
        let relayed = endpoint.is_relayed();
        let dialled = endpoint.is_dialer();
        let remote = endpoint.get_remote_address().clone();
        let entry = self.connected.entry(peer).or_insert(Peer {
            membership: Membership::Unknown(now),
            remote: remote.clone(),
            dialled,
            lag: None,
            unanswered: 0,
            straightened: false,
            connections: Vec::new(),
        });
        // A direct way is better than one through a relay, and a listener better than a port that
        // leads nowhere.
        if dialled && (!relayed || entry.is_relayed()) {
            entry.remote = remote;
            entry.dialled = true;
        }
        entry.connections.push(Connection {
            id,
            relayed,
            since: now,
        });
    }

    /// A connection is gone. Returns the peer if it was the last one.
    pub(crate) fn disconnected(&mut self, peer: &PeerId, id: ConnectionId) -> Option<Peer> {
        let entry = self.connected.get_mut(peer)?;
        entry.connections.retain(|connection| connection.id != id);
        if !entry.connections.is_empty() {
            return None;
        }
        self.connected.remove(peer)
    }

    pub(crate) fn get(&self, peer: &PeerId) -> Option<&Peer> {
        self.connected.get(peer)
    }

    pub(crate) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.connected.get_mut(peer)
    }

    /// Whether `peer` is connected, of whatever swarm.
    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.connected.contains_key(peer)
    }

    /// Whether `peer` is connected and belongs to this swarm.
    pub(crate) fn is_member(&self, peer: &PeerId) -> bool {
        self.connected
            .get(peer)
            .is_some_and(|peer| peer.membership == Membership::Member)
    }

    /// Connected peers of this swarm.
    pub(crate) fn members(&self) -> impl Iterator<Item = PeerId> {
        self.of_swarm().map(|(id, _)| *id)
    }

    /// The same, with how they are connected.
    pub(crate) fn links(&self) -> Vec<Link> {
        self.of_swarm()
            .map(|(id, peer)| Link {
                peer: id.to_base58(),
                address: peer.remote.to_string(),
                relayed: peer.is_relayed(),
                dialled: peer.dialled,
            })
            .collect()
    }

    fn of_swarm(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.connected
            .iter()
            .filter(|(_, peer)| peer.membership == Membership::Member)
    }

    /// All connected peers.
    pub(crate) fn all(&self) -> Vec<PeerId> {
        self.connected.keys().copied().collect()
    }

    /// Peers to disconnect: those of other swarms, and those that had time enough to say what they
    /// are.
    pub(crate) fn unwanted(&self, now: Instant) -> Vec<PeerId> {
        self.connected
            .iter()
            .filter(|(_, peer)| match peer.membership {
                Membership::Unknown(since) => now.duration_since(since) > IDENTIFY_WITHIN,
                Membership::Foreign(since) => now.duration_since(since) > FOREIGN_FOR,
                Membership::Member => false,
            })
            .map(|(id, _)| *id)
            .collect()
    }

    /// Relayed connections that a direct one has replaced.
    pub(crate) fn superseded(&self, now: Instant) -> Vec<ConnectionId> {
        let settled = |connection: &Connection| {
            !connection.relayed && now.duration_since(connection.since) > RELAYED_FOR
        };
        self.connected
            .values()
            .filter(|peer| peer.connections.iter().any(settled))
            .flat_map(|peer| &peer.connections)
            .filter(|connection| connection.relayed)
            .map(|connection| connection.id)
            .collect()
    }

    /// Whether a peer of another swarm is met for the first time.
    pub(crate) fn tell_once(&mut self, peer: PeerId) -> bool {
        if self.told.len() >= MAX_TOLD {
            self.told.clear();
        }
        self.told.insert(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled(address: &str) -> ConnectedPoint {
        ConnectedPoint::Dialer {
            address: address.parse().unwrap(),
            role_override: libp2p::core::Endpoint::Dialer,
            port_use: libp2p::core::transport::PortUse::Reuse,
        }
    }

    #[test]
    fn a_direct_connection_replaces_the_relayed_one() {
        let (mut peers, peer, now) = (Peers::default(), PeerId::random(), Instant::now());
        let [relayed, direct] = [1, 2].map(ConnectionId::new_unchecked);
        let relay = PeerId::random();
        let through = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}");
        peers.connected(peer, relayed, &dialled(&through), now);
        assert!(peers.get(&peer).unwrap().is_relayed());
        assert!(peers.superseded(now + RELAYED_FOR * 2).is_empty());
        let straight = "/ip4/9.9.9.9/tcp/1";
        peers.connected(peer, direct, &dialled(straight), now);
        assert!(!peers.get(&peer).unwrap().is_relayed());
        assert!(peers.superseded(now).is_empty());
        assert_eq!(peers.superseded(now + RELAYED_FOR * 2), vec![relayed]);
        assert!(peers.disconnected(&peer, relayed).is_none());
        assert_eq!(peers.get(&peer).unwrap().remote.to_string(), straight);
        assert!(peers.disconnected(&peer, direct).is_some());
        assert!(!peers.is_connected(&peer));
    }
}
