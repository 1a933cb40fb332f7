//! What a record is about.

use crate::error::RecordError;

/// The kinds of record, by their number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Completions with token ids and log-probs; committed first, revealed later.
    Rollouts = 1,
    /// Held-out accuracy.
    Evaluation = 2,
    /// An adapter, pulled by hash.
    Checkpoint = 3,
    /// The headers that a committee member saw in time.
    Seen = 4,
    /// A round's deterministic summary.
    Ledger = 5,
    /// A committee member's signature under a ledger.
    Attestation = 6,
    /// The outcome of a sampling audit.
    Audit = 7,
    /// A peer key bound to an account.
    Binding = 8,
    /// What a node declines, measures and runs.
    Status = 9,
}

impl Kind {
    /// Every kind, in order of number.
    pub const ALL: [Self; 9] = [
        Self::Rollouts,
        Self::Evaluation,
        Self::Checkpoint,
        Self::Seen,
        Self::Ledger,
        Self::Attestation,
        Self::Audit,
        Self::Binding,
        Self::Status,
    ];

    /// Whether the body is withheld until its author reveals it.
    #[must_use]
    pub const fn commits_first(self) -> bool {
        matches!(self, Self::Rollouts)
    }
}

impl TryFrom<u8> for Kind {
    type Error = RecordError;

    fn try_from(number: u8) -> Result<Self, RecordError> {
        Self::ALL
            .get(usize::from(number).wrapping_sub(1))
            .copied()
            .ok_or(RecordError::Kind(number))
    }
}
