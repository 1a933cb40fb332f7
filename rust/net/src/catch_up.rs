//! Asking peers for the records of a round: gossip reaches neither those who join late nor those
//! who were cut off or too slow for a while.

use std::collections::{HashMap, VecDeque};

use libp2p::PeerId;
use rlswarm_proto::Hash;
use rlswarm_proto::wire::{MAX_HASHES, MAX_WANTED};

/// What is still to be asked of whom.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    wanted: HashMap<PeerId, VecDeque<Hash>>,
}

impl CatchUp {
    /// `peer` has these records, which are not here.
    pub(crate) fn add(&mut self, peer: PeerId, missing: impl Iterator<Item = Hash>) {
        let wanted = self.wanted.entry(peer).or_default();
        let room = (2 * MAX_HASHES).saturating_sub(wanted.len());
        wanted.extend(missing.take(room));
    }

    /// The next records to ask `peer` for, but those that `known` says came in meanwhile.
    pub(crate) fn next(&mut self, peer: &PeerId, known: impl Fn(&Hash) -> bool) -> Vec<Hash> {
        let Some(wanted) = self.wanted.get_mut(peer) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        while out.len() < MAX_WANTED
            && let Some(hash) = wanted.pop_front()
        {
            if !known(&hash) {
                out.push(hash);
            }
        }
        if wanted.is_empty() {
            self.wanted.remove(peer);
        }
        out
    }

    /// `peer` is gone or doesn't answer.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.wanted.remove(peer);
    }
}
