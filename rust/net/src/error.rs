//! Why an endpoint doesn't open or do what it is told.

use rlswarm_proto::admission::Reason;

/// Why an endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Text that is not a usable multiaddress.
    #[error("{0}")]
    Address(String),
    /// Somebody else listens there.
    #[error("{0} is taken by another process")]
    PortInUse(String),
    /// Text that is no key of a private swarm.
    #[error("{0}")]
    SwarmKey(String),
    /// Anything else that the system refused.
    #[error("{0}")]
    Network(String),
}

/// Why an endpoint doesn't do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Text that is not a usable multiaddress.
    #[error("{0}")]
    Address(String),
    /// It was closed.
    #[error("the endpoint is closed")]
    Closed,
    /// The network is slower than the caller.
    #[error("the queue of outgoing messages is full, try again soon")]
    QueueFull,
    /// The record is not by this endpoint's identity.
    #[error("only records of one's own can be announced")]
    NotOwn,
    /// Peers would not take it.
    #[error("the record would not be taken by peers: {0}")]
    NotAdmissible(Reason),
    /// Its body or its author's share of the round is larger than the swarm allows.
    #[error("the record would not be taken by peers: {0}")]
    TooLarge(Reason),
    /// No such record is known here.
    #[error("no record of this hash is known here")]
    Unknown,
    /// There is nobody to ask.
    #[error("no peer is connected who could give it; ask again when one has joined")]
    NoPeers,
    /// Text that is not a `PeerId`.
    #[error("'{0}' is not a PeerId such as 12D3KooW…")]
    NoPeerId(String),
}
