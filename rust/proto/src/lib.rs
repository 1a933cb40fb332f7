//! The part of rlswarm that needs no IO: what a record is, when one is let in, what its hash and
//! signature mean, and the keyed randomness and Merkle trees that every node must compute alike.
//!
//! Nothing here reads a clock, a socket or a file, so that all of it can be tested by property and
//! fuzzed by bytes.

pub mod admission;
pub mod body;
pub mod error;
pub mod header;
pub mod identity;
pub mod kind;
pub mod merkle;
pub mod prf;
pub mod store;
pub mod verify;
pub mod wire;

/// A BLAKE3 digest, a record's name, a swarm id, a root: 32 raw bytes.
pub type Hash = [u8; 32];

/// An Ed25519 public key.
pub type PublicKey = [u8; 32];
