//! Who is connected, and which of them belong to this swarm.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

/// How long a connection may stay without saying what it is.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(15);
/// How long a peer of another swarm may stay: long enough to learn the same of this node.
const FOREIGN_FOR: Duration = Duration::from_secs(1);
/// The most peers of other swarms that are remembered as told of.
const MAX_TOLD: usize = 1024;

/// What is known of a connected peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It hasn't said yet.
    Unknown(Instant),
    /// It belongs to this swarm.
    Member,
    /// It belongs to another one; since then it is known.
    Foreign(Instant),
}

/// A connected peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) standing: Standing,
    /// The address of the newest connection.
    pub(crate) remote: Multiaddr,
    /// Whether it was dialled, so that `remote` leads to its listener.
    pub(crate) dialled: bool,
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
        remote: Multiaddr,
        dialled: bool,
        now: Instant,
    ) {
        let entry = self.connected.entry(peer).or_insert(Peer {
            standing: Standing::Unknown(now),
            remote: remote.clone(),
            dialled,
        });
        if dialled {
            entry.remote = remote;
            entry.dialled = true;
        }
    }

    /// The last connection is gone.
    pub(crate) fn left(&mut self, peer: &PeerId) -> Option<Peer> {
        self.connected.remove(peer)
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
            .is_some_and(|peer| peer.standing == Standing::Member)
    }

    /// Connected peers of this swarm.
    pub(crate) fn members(&self) -> impl Iterator<Item = PeerId> {
        self.connected
            .iter()
            .filter(|(_, peer)| peer.standing == Standing::Member)
            .map(|(id, _)| *id)
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
            .filter(|(_, peer)| match peer.standing {
                Standing::Unknown(since) => now.duration_since(since) > IDENTIFY_WITHIN,
                Standing::Foreign(since) => now.duration_since(since) > FOREIGN_FOR,
                Standing::Member => false,
            })
            .map(|(id, _)| *id)
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
