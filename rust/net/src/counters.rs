//! Numbers for people and tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the endpoint was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) headers_in: AtomicU64,
    pub(crate) bodies_in: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) ignored: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Messages that a peer's full queue refused. They are tried again if all queues were full,
    /// and had by asking otherwise.
    pub(crate) unsent: AtomicU64,
    /// Messages that every peer's full queue refused, and that were tried again.
    pub(crate) refused: AtomicU64,
    /// Direct connections made through a NAT, and attempts that failed.
    pub(crate) holes_punched: AtomicU64,
    pub(crate) holes_failed: AtomicU64,
}

/// Add to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Read a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
