//! The address book: where peers may be found, and when the next attempt at each is due.
//!
//! A peer's own word about its addresses replaces its earlier word; what third parties say replaces
//! only what third parties said before, so that nobody can push good addresses out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

/// The most peers in the book. Those never reached go first, then those not reached for longest.
const MAX_PEERS: usize = 1024;
/// Addresses of one peer by one word.
pub(crate) const MAX_ADDRESSES: usize = 8;
const FIRST_DELAY: Duration = Duration::from_secs(2);
const LAST_DELAY: Duration = Duration::from_secs(300);
/// How long a peer that turned out to be of another swarm is left alone.
const FOREIGN_DELAY: Duration = Duration::from_secs(3600);

/// How an address came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// The peer itself said so.
    Own,
    /// Somebody else did, or a file.
    Heard,
}

#[derive(Debug)]
struct Entry {
    /// The address that was dialled with success, if one was.
    proven: Option<Multiaddr>,
    own: Vec<Multiaddr>,
    heard: Vec<Multiaddr>,
    /// When it was last connected, Unix milliseconds; 0 for never.
    seen_ms: u64,
    due: Instant,
    delay: Duration,
}

impl Entry {
    fn addresses(&self) -> Vec<Multiaddr> {
        let mut out: Vec<Multiaddr> = Vec::new();
        for address in self.proven.iter().chain(&self.own).chain(&self.heard) {
            if !out.contains(address) {
                out.push(address.clone());
            }
        }
        out
    }
}

/// All peers that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Book {
    peers: HashMap<PeerId, Entry>,
}

impl Book {
    /// Note addresses of `peer`, each with its id at the end, the best first.
    pub(crate) fn learn(
        &mut self,
        peer: PeerId,
        mut addresses: Vec<Multiaddr>,
        word: Word,
        now: Instant,
    ) {
        if addresses.is_empty() {
            return;
        }
        addresses.truncate(MAX_ADDRESSES);
        let entry = self.entry(peer, now);
        match word {
            Word::Own => entry.own = addresses,
            Word::Heard => entry.heard = addresses,
        }
    }

    /// `peer` is connected; `dialled` is the address that led there.
    pub(crate) fn reached(
        &mut self,
        peer: PeerId,
        dialled: Option<Multiaddr>,
        now: Instant,
        now_ms: u64,
    ) {
        if dialled.is_none() && !self.peers.contains_key(&peer) {
            return;
        }
        let entry = self.entry(peer, now);
        if dialled.is_some() {
            entry.proven = dialled;
        }
        entry.seen_ms = now_ms;
        entry.delay = FIRST_DELAY;
        entry.due = now + FIRST_DELAY;
    }

    /// `peer` is no longer connected.
    pub(crate) fn left(&mut self, peer: &PeerId, now: Instant, now_ms: u64) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.seen_ms = now_ms;
            entry.due = now + FIRST_DELAY;
        }
    }

    /// `peer` is of another swarm.
    pub(crate) fn foreign(&mut self, peer: &PeerId, now: Instant) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.proven = None;
            entry.seen_ms = 0;
            entry.due = now + FOREIGN_DELAY;
        }
    }

    /// At most `count` peers to try now, those met last first, as by [`Book::take`].
    pub(crate) fn due(
        &mut self,
        count: usize,
        now: Instant,
        skip: impl Fn(&PeerId) -> bool,
    ) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut due: Vec<(u64, PeerId)> = self
            .peers
            .iter()
            .filter(|(peer, entry)| entry.due <= now && !skip(peer))
            .map(|(peer, entry)| (entry.seen_ms, *peer))
            .collect();
        due.sort_unstable_by_key(|(seen, _)| std::cmp::Reverse(*seen));
        due.truncate(count);
        due.into_iter()
            .filter_map(|(_, peer)| Some((peer, self.take(&peer, now)?)))
            .collect()
    }

    /// Where to try `peer` now, if an attempt is due. It counts as failed until it is reached.
    pub(crate) fn take(&mut self, peer: &PeerId, now: Instant) -> Option<Vec<Multiaddr>> {
        let entry = self.peers.get_mut(peer).filter(|entry| entry.due <= now)?;
        entry.due = now + entry.delay;
        entry.delay = (entry.delay * 2).min(LAST_DELAY);
        Some(entry.addresses())
    }

    /// Peers that were connected once, those met last first, with when that was.
    pub(crate) fn met(&self, count: usize) -> Vec<(Vec<Multiaddr>, u64)> {
        let mut met: Vec<&Entry> = self.peers.values().filter(|e| e.seen_ms > 0).collect();
        met.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.seen_ms));
        met.into_iter()
            .take(count)
            .map(|entry| (entry.addresses(), entry.seen_ms))
            .collect()
    }

    fn entry(&mut self, peer: PeerId, now: Instant) -> &mut Entry {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            let least = self.peers.iter().min_by_key(|(_, entry)| entry.seen_ms);
            if let Some(least) = least.map(|(peer, _)| *peer) {
                self.peers.remove(&least);
            }
        }
        self.peers.entry(peer).or_insert(Entry {
            proven: None,
            own: Vec::new(),
            heard: Vec::new(),
            seen_ms: 0,
            due: now,
            delay: FIRST_DELAY,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/1.2.3.4/tcp/{port}").parse().unwrap()
    }

    fn addresses(book: &Book, peer: &PeerId) -> Vec<Multiaddr> {
        book.peers[peer].addresses()
    }

    #[test]
    fn hearsay_never_replaces_what_was_proven() {
        let (mut book, now, peer) = (Book::default(), Instant::now(), PeerId::random());
        book.reached(peer, Some(address(1)), now, 5);
        book.learn(peer, vec![address(2)], Word::Own, now);
        book.learn(peer, (100..200).map(address).collect(), Word::Heard, now);
        let known = addresses(&book, &peer);
        assert_eq!(&known[..2], &[address(1), address(2)]);
        assert_eq!(known.len(), 2 + MAX_ADDRESSES);
        book.learn(peer, vec![address(3)], Word::Own, now);
        assert!(!addresses(&book, &peer).contains(&address(2)));
        assert_eq!(book.met(9), vec![(addresses(&book, &peer), 5)]);
    }

    #[test]
    fn backs_off_and_tries_those_met_last_first() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        let peers: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
        for (index, peer) in peers.iter().enumerate() {
            book.learn(*peer, vec![address(1)], Word::Heard, now);
            book.reached(*peer, None, now, index as u64 + 1);
        }
        assert!(book.due(9, now, |_| false).is_empty());
        now += FIRST_DELAY;
        let due = book.due(2, now, |_| false);
        assert_eq!([due[0].0, due[1].0], [peers[2], peers[1]]);
        assert_eq!(book.due(9, now, |_| false).len(), 1);
        let mut attempts = 0;
        for _ in 0..3600 {
            now += Duration::from_secs(1);
            attempts += book.due(9, now, |peer| *peer != peers[0]).len();
        }
        assert!(
            (12..30).contains(&attempts),
            "{attempts} attempts in an hour"
        );
    }

    #[test]
    fn a_flood_of_strangers_pushes_no_friend_out() {
        let (mut book, now, friend) = (Book::default(), Instant::now(), PeerId::random());
        book.reached(friend, Some(address(1)), now, 1);
        for _ in 0..3 * MAX_PEERS {
            book.learn(PeerId::random(), vec![address(2)], Word::Heard, now);
        }
        assert_eq!(book.peers.len(), MAX_PEERS);
        assert_eq!(addresses(&book, &friend), vec![address(1)]);
    }
}
