//! What both the swarm task and the intake know about records.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use libp2p::PeerId;
use rlswarm_proto::Hash;
use rlswarm_proto::admission::{Admission, Rules};
use rlswarm_proto::header::Header;
use rlswarm_proto::store::{Access, Capacity, Entry, Store};
use rlswarm_proto::wire;

/// The most headers on each shelf.
const MAX_HEADERS: usize = 65_536;
/// The least bytes of bodies on each shelf; swarms with a larger quota get room for four authors'.
const LEAST_BYTES: u64 = 64 << 20;

/// Records, behind one lock that is never held over anything slow.
#[derive(Debug)]
pub(crate) struct Records {
    inner: Mutex<Shelves>,
}

/// Records of one's own and of others. They are kept apart so that a flood of others' can't push
/// one's own out.
#[derive(Debug)]
pub(crate) struct Shelves {
    pub(crate) admission: Admission,
    own: Store<PeerId>,
    others: Store<PeerId>,
}

impl Records {
    /// Nothing known yet.
    pub(crate) fn new(rules: Rules) -> Self {
        let bytes = rules.author_quota.saturating_mul(4).max(LEAST_BYTES);
        let capacity = Capacity {
            headers: MAX_HEADERS,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        Self {
            inner: Mutex::new(Shelves {
                admission: Admission::new(rules),
                own: Store::new(capacity),
                others: Store::new(capacity),
            }),
        }
    }

    /// Look or change.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    /// Hold a record of one's own.
    pub(crate) fn insert_own(&mut self, header: Arc<Header>, body: Bytes, released: bool) {
        let hash = *header.hash();
        self.own.insert(header);
        self.own.put_body(&hash, body);
        if let Some(entry) = self.own.get_mut(&hash) {
            entry.released = released;
            entry.delivered = true;
        }
    }

    /// Hold another's header.
    pub(crate) fn insert(&mut self, header: Arc<Header>, peer: PeerId) {
        let hash = *header.hash();
        self.others.insert(header);
        self.others.add_provider(&hash, peer);
    }

    /// Remember that `peer` passed on a record that is known.
    pub(crate) fn add_provider(&mut self, hash: &Hash, peer: PeerId) {
        self.others.add_provider(hash, peer);
    }

    /// Hold the checked body of another's record, and give it to whoever asks: it could only be
    /// had because its author released it.
    pub(crate) fn put_body(&mut self, hash: &Hash, body: Bytes) {
        self.others.put_body(hash, body);
        if let Some(entry) = self.others.get_mut(hash) {
            entry.released = true;
        }
    }

    /// Note whether the application has the body.
    pub(crate) fn set_delivered(&mut self, hash: &Hash, delivered: bool) {
        if let Some(entry) = self.others.get_mut(hash) {
            entry.delivered = delivered;
        }
    }

    /// Release the body of a record of one's own. Returns it with its header, if it is known.
    pub(crate) fn release(&mut self, hash: &Hash) -> Option<(Arc<Header>, Bytes)> {
        let entry = self.own.get_mut(hash)?;
        entry.released = true;
        Some((Arc::clone(&entry.header), entry.body.clone()?))
    }

    /// A record by name.
    pub(crate) fn get(&self, hash: &Hash) -> Option<&Entry<PeerId>> {
        self.own.get(hash).or_else(|| self.others.get(hash))
    }

    /// What others may have of a record's body.
    pub(crate) fn access(&self, hash: &Hash) -> Access<'_> {
        match self.own.access(hash) {
            Access::Unknown => self.others.access(hash),
            known => known,
        }
    }

    /// The names of a round's records, one's own first.
    pub(crate) fn round(&self, round: u64) -> Vec<Hash> {
        let mut hashes = self.own.round(round);
        hashes.extend(self.others.round(round));
        hashes.truncate(wire::MAX_HASHES);
        hashes
    }

    /// Drop what is older than records stay usable.
    pub(crate) fn forget_before(&mut self, round: u64) {
        self.own.forget_before(round);
        self.others.forget_before(round);
    }
}
