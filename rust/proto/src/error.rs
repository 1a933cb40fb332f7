//! Why bytes from elsewhere are not a record.

/// A record, or a part of one, that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the encoding does.
    #[error("the header ends early")]
    Truncated,
    /// Bytes follow the end of the encoding.
    #[error("{0} bytes follow the end of the header")]
    Trailing(usize),
    /// The encoding is longer than any header may be.
    #[error("a header has at most {max} bytes, got {len}")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The first byte names a version that this code doesn't speak.
    #[error("unknown record version {0}")]
    Version(u8),
    /// No such record kind.
    #[error("unknown record kind {0}")]
    Kind(u8),
    /// Slots must rise strictly, so that each set of slots has one encoding.
    #[error("task slots must be strictly increasing")]
    SlotOrder,
    /// More slots than one record may cover.
    #[error("a record covers at most {max} task slots, got {len}")]
    SlotCount {
        /// Slots given.
        len: usize,
        /// Slots allowed.
        max: usize,
    },
    /// The persona is too long, not UTF-8, or has control characters.
    #[error("the persona must be at most 64 bytes of UTF-8 without control characters")]
    Persona,
    /// The record was made for another swarm.
    #[error("the record belongs to another swarm")]
    OtherSwarm,
    /// The signature doesn't match the header's hash and author.
    #[error("the signature is wrong")]
    Signature,
    /// The stored body has another length than its header says.
    #[error("the stored body has {got} bytes, its header says {declared}")]
    StoredLength {
        /// Bytes given.
        got: usize,
        /// Bytes that the header declares.
        declared: u32,
    },
    /// The stored body has another hash than its header says.
    #[error("the stored body doesn't match the hash in its header")]
    BodyHash,
    /// The body is larger than the caller or the format allows.
    #[error("the body has {len} bytes, at most {max} are allowed")]
    BodyTooLarge {
        /// Bytes declared.
        len: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The stored body is not one zstd frame of the declared size.
    #[error("the stored body is not a zstd frame of the size that its header says")]
    Compression,
    /// A gossip message or an answer of a peer that doesn't parse.
    #[error("malformed message: {0}")]
    Message(&'static str),
}
