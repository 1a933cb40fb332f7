//! Finding peers, dialling them, and learning whether they belong here.

use std::time::Instant;

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, identify, kad, mdns};

use super::{CATCH_UP_AGAIN, ENOUGH_PEERS, Node, WALK_LEAST, WALK_MOST, WALK_SOON};
use crate::address::{self, is_loopback, with_peer};
use crate::book::{MAX_ADDRESSES, Word};
use crate::clock::now_ms;
use crate::events::What;
use crate::peers::Membership;

/// Addresses of one peer that are looked at.
const MAX_LISTED: usize = 64;
/// Attempts at peers of the address book that may be under way.
const MAX_ATTEMPTS: usize = 8;

impl Node {
    /// Dial what is due: the addresses that this node was told of, and, while it has few peers,
    /// those of its address book.
    pub(super) fn dial_due(&mut self) {
        let now = Instant::now();
        let due = self.dialer.due(now, |peer| self.peers.is_connected(peer));
        for (address, peer) in due {
            let options = match peer {
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::Disconnected)
                    .addresses(vec![address.clone()])
                    .build(),
                None => DialOpts::unknown_peer_id().address(address.clone()).build(),
            };
            let connection = options.connection_id();
            self.dialer.dialling(&address, connection);
            if let Err(error) = self.swarm.dial(options) {
                self.dial_failed(connection, &error);
            }
        }
        let counters = self.swarm.network_info();
        let pending = counters.connection_counters().num_pending_outgoing() as usize;
        let room = MAX_ATTEMPTS.saturating_sub(pending);
        if room == 0 || self.peers.members().count() >= ENOUGH_PEERS {
            return;
        }
        for (peer, addresses) in self
            .book
            .due(room, now, |peer| self.peers.is_connected(peer))
        {
            self.dial(peer, addresses);
        }
    }

    /// Try a peer once. One of many: others will do if it can't be reached.
    pub(super) fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .build();
        let _ = self.swarm.dial(options);
    }

    pub(super) fn dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        if let Some(address) = self.dialer.failed(connection, Instant::now()) {
            self.tell(What::Unreachable {
                detail: format!("{address}: {}", self.cause(error)),
            });
        }
    }

    /// The innermost cause of a failed dial: what stands around it only says that dialling failed.
    fn cause(&self, error: &DialError) -> String {
        let cause = match error {
            DialError::Transport(attempts) => attempts
                .first()
                .map_or_else(|| innermost(error), |(_, error)| innermost(error)),
            error => innermost(error),
        };
        // A wrong key turns what the other side says into noise of every kind.
        let met = !cause.contains("refused") && !cause.contains("unreachable");
        if self.private && met {
            format!(
                "{cause} (this swarm is private: the other side may have no swarm key, or another)"
            )
        } else {
            cause
        }
    }

    /// Note where `peer` may be found.
    pub(super) fn learn(&mut self, peer: PeerId, addresses: &[Multiaddr], word: Word) {
        if peer == *self.swarm.local_peer_id() {
            return;
        }
        // An address that leads nowhere but to its own machine is of use only on that machine.
        let local = self.reachability.is_local();
        self.note(peer, addresses, word, local);
    }

    fn note(&mut self, peer: PeerId, addresses: &[Multiaddr], word: Word, local: bool) {
        let usable = self.usable(peer, addresses, local);
        self.book.learn(peer, usable, word, Instant::now());
    }

    fn usable(&self, peer: PeerId, addresses: &[Multiaddr], local: bool) -> Vec<Multiaddr> {
        let mut usable: Vec<Multiaddr> = addresses
            .iter()
            .take(MAX_LISTED)
            .filter_map(|address| address::of_peer(address, peer, local, self.private))
            .collect();
        usable.sort_by_key(address::distance);
        usable.truncate(MAX_ADDRESSES);
        usable
    }

    pub(super) fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let now = Instant::now();
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        let remote = known.remote.clone();
        if info.protocol_version != self.names.version {
            if !matches!(known.membership, Membership::Foreign(_)) {
                known.membership = Membership::Foreign(now);
            }
            self.book.foreign(&peer, now);
            // The local network may be full of other swarms; that is no news.
            let neighbour = self
                .swarm
                .behaviour()
                .mdns
                .as_ref()
                .is_some_and(|mdns| mdns.discovered_nodes().any(|other| *other == peer));
            if self.peers.tell_once(peer) && !neighbour {
                self.tell(What::OtherSwarm {
                    peer,
                    detail: format!("{remote} speaks {}", printable(&info.protocol_version)),
                });
            }
            return;
        }
        let dialled = known.dialled;
        let usable = self.usable(peer, &info.listen_addrs, is_loopback(&remote));
        let address = match usable.first() {
            Some(first) if !dialled => first.clone(),
            _ => remote,
        };
        let address = with_peer(address, peer);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.remote = address.clone();
        }
        let kad = &mut self.swarm.behaviour_mut().kad;
        // What it said before is void, or the table would grow with each word.
        kad.remove_peer(&peer);
        for address in &usable {
            kad.add_address(&peer, address.clone());
        }
        self.straighten(peer, &usable);
        self.book.learn(peer, usable, Word::Own, now);
        self.book
            .reached(peer, dialled.then(|| address.clone()), now, now_ms());
        self.note_relay(peer, &address, &info.protocols);
        self.joined(peer, address.to_string(), now);
    }

    /// Dial a peer that came through a relay, if it says that anyone can dial it: it could not dial
    /// this node, which is no reason to stay with the relay. Once: its word may lead anywhere.
    fn straighten(&mut self, peer: PeerId, usable: &[Multiaddr]) {
        let straight: Vec<Multiaddr> = usable
            .iter()
            .filter(|address| address::distance(address) == 0)
            .cloned()
            .collect();
        if let Some(known) = self.peers.get_mut(&peer)
            && known.is_relayed()
            && !known.straightened
            && !straight.is_empty()
        {
            known.straightened = true;
            let options = DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(straight)
                .build();
            let _ = self.swarm.dial(options);
        }
    }

    /// A peer turned out to be a member, perhaps not for the first time.
    fn joined(&mut self, peer: PeerId, address: String, now: Instant) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        if std::mem::replace(&mut known.membership, Membership::Member) == Membership::Member {
            self.share_members();
            return;
        }
        self.share_members();
        if let Some(standing) = self.standings.get(&peer) {
            let gossip = &mut self.swarm.behaviour_mut().gossip;
            gossip.set_application_score(&peer, *standing);
        }
        self.tell(What::PeerJoined { peer, address });
        self.ask_rounds(peer);
        self.catch_up_at = self.catch_up_at.min(now + CATCH_UP_AGAIN);
        self.walk_pause = WALK_LEAST;
        let soon = now + WALK_SOON;
        self.walk_at = Some(self.walk_at.map_or(soon, |at| at.min(soon)));
    }

    pub(super) fn left(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(known) = self.peers.disconnected(&peer, connection) else {
            self.share_members();
            return;
        };
        let now = Instant::now();
        let foreign = matches!(known.membership, Membership::Foreign(_));
        self.dialer.lost(&peer, foreign, now);
        self.catch_up.forget(&peer);
        self.relays.remove(&peer);
        if known.membership == Membership::Member {
            self.book.left(&peer, now, now_ms());
            self.share_members();
            self.tell(What::PeerLeft {
                peer,
                address: known.remote.to_string(),
            });
        }
    }

    /// End all connections to a peer that does harm; it is not hurried back.
    pub(super) fn drop_peer(&mut self, peer: PeerId) {
        self.book.foreign(&peer, Instant::now());
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    /// Look for further peers: a Kademlia walk to a random place.
    pub(super) fn walk(&mut self, now: Instant) {
        if self.peers.members().count() < ENOUGH_PEERS {
            self.swarm
                .behaviour_mut()
                .kad
                .get_closest_peers(PeerId::random());
        }
        self.walk_at = Some(now + self.walk_pause);
        self.walk_pause = (self.walk_pause * 2).min(WALK_MOST);
    }

    pub(super) fn found(&mut self, found: &[kad::PeerInfo]) {
        for info in found {
            self.learn(info.peer_id, &info.addrs, Word::Heard);
        }
        self.dial_due();
    }

    pub(super) fn neighbours(&mut self, event: mdns::Event) {
        if let mdns::Event::Discovered(list) = event {
            for (peer, address) in list {
                self.learn(peer, &[address], Word::Heard);
            }
            self.dial_due();
        }
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(io) = error.downcast_ref::<std::io::Error>()
        && let Some(inner) = io.get_ref()
    {
        return innermost(inner);
    }
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// A peer's text, safe to show: no control characters, and not long.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}
