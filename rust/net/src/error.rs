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
    /// No such record is known here.
    #[error("no record of this hash is known here")]
    Unknown,
    /// More addresses than are kept.
    #[error("too many addresses are being dialled already")]
    TooManyAddresses,
}
