//! The records held here, bounded by count and bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::Hash;
use crate::header::Header;
use crate::wire;

/// How many peers are remembered as having passed on one record.
const MAX_PROVIDERS: usize = 4;

/// How much a store may hold.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Headers.
    pub headers: usize,
    /// Bytes of stored bodies.
    pub bytes: usize,
}

/// One record held here. `P` names a peer.
#[derive(Debug)]
pub struct Entry<P> {
    /// The header; its signature was checked.
    pub header: Arc<Header>,
    /// The stored body, if it is here; its hash was checked.
    pub body: Option<Bytes>,
    /// Whether the body may be given to others.
    pub released: bool,
    /// Whether the body was handed to the application.
    pub delivered: bool,
    /// Who passed the record on, so has the header and may have the body.
    pub providers: Vec<P>,
    position: (u64, u64),
}

/// What another node may be given.
#[derive(Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// The stored body.
    Open(&'a Bytes),
    /// It is here and not released.
    Sealed,
    /// It is not here.
    Unknown,
}

/// Records by name, the oldest round dropped first when there are too many.
#[derive(Debug)]
pub struct Store<P> {
    capacity: Capacity,
    entries: HashMap<Hash, Entry<P>>,
    order: BTreeMap<(u64, u64), Hash>,
    inserted: u64,
    bytes: usize,
}

impl<P: PartialEq> Store<P> {
    /// An empty store.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            inserted: 0,
            bytes: 0,
        }
    }

    /// Hold a header. Does nothing if it is held already.
    pub fn insert(&mut self, header: Arc<Header>) {
        let hash = *header.hash();
        if self.entries.contains_key(&hash) {
            return;
        }
        let position = (header.fields().round, self.inserted);
        self.inserted += 1;
        self.order.insert(position, hash);
        self.entries.insert(
            hash,
            Entry {
                header,
                body: None,
                released: false,
                delivered: false,
                providers: Vec::new(),
                position,
            },
        );
        self.shrink(&hash);
    }

    /// Add the stored body of a header that is held. Returns whether it was missing.
    pub fn put_body(&mut self, hash: &Hash, body: Bytes) -> bool {
        let Some(entry) = self.entries.get_mut(hash) else {
            return false;
        };
        if entry.body.is_some() {
            return false;
        }
        self.bytes += body.len();
        entry.body = Some(body);
        self.shrink(hash);
        true
    }

    /// Remember that `peer` passed a record on.
    pub fn add_provider(&mut self, hash: &Hash, peer: P) {
        if let Some(entry) = self.entries.get_mut(hash)
            && entry.providers.len() < MAX_PROVIDERS
            && !entry.providers.contains(&peer)
        {
            entry.providers.push(peer);
        }
    }

    /// The record of this name.
    #[must_use]
    pub fn get(&self, hash: &Hash) -> Option<&Entry<P>> {
        self.entries.get(hash)
    }

    /// The record of this name, to change its flags.
    pub fn get_mut(&mut self, hash: &Hash) -> Option<&mut Entry<P>> {
        self.entries.get_mut(hash)
    }

    /// What others may be given of this record's body.
    #[must_use]
    pub fn access(&self, hash: &Hash) -> Access<'_> {
        match self.entries.get(hash) {
            Some(Entry {
                body: Some(body),
                released,
                ..
            }) => {
                if *released {
                    Access::Open(body)
                } else {
                    Access::Sealed
                }
            }
            _ => Access::Unknown,
        }
    }

    /// The names of a round's records, the newest first, at most [`wire::MAX_HASHES`].
    #[must_use]
    pub fn round(&self, round: u64) -> Vec<Hash> {
        self.order
            .range((round, 0)..=(round, u64::MAX))
            .rev()
            .take(wire::MAX_HASHES)
            .map(|(_, hash)| *hash)
            .collect()
    }

    /// Drop the records of rounds before `round`.
    pub fn forget_before(&mut self, round: u64) {
        while let Some((position, hash)) = self.order.first_key_value() {
            if position.0 >= round {
                break;
            }
            let hash = *hash;
            self.remove(&hash);
        }
    }

    /// Bytes of stored bodies held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Headers held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, hash: &Hash) {
        if let Some(entry) = self.entries.remove(hash) {
            self.order.remove(&entry.position);
            self.bytes -= entry.body.map_or(0, |body| body.len());
        }
    }

    // The record that was just added stays, whatever its round.
    fn shrink(&mut self, keep: &Hash) {
        while self.entries.len() > self.capacity.headers || self.bytes > self.capacity.bytes {
            let Some(hash) = self.order.values().find(|hash| *hash != keep).copied() else {
                return;
            };
            self.remove(&hash);
        }
    }
}
