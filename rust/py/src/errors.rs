//! The exception tree.

use pyo3::create_exception;
use pyo3::exceptions::PyException;

create_exception!(
    rlswarm._core,
    CoreError,
    PyException,
    "Base of every error raised by the Rust core."
);
create_exception!(
    rlswarm._core,
    RecordError,
    CoreError,
    "A record is malformed, oversized, of another swarm, or its signature is wrong."
);
create_exception!(
    rlswarm._core,
    AddressError,
    CoreError,
    "Text that is not a usable multiaddress or PeerId."
);
create_exception!(
    rlswarm._core,
    PortInUseError,
    CoreError,
    "The listen address is taken."
);
create_exception!(
    rlswarm._core,
    KeyFileError,
    CoreError,
    "PEM text that is not an Ed25519 private key."
);
create_exception!(
    rlswarm._core,
    NetworkError,
    CoreError,
    "The endpoint can't do what was asked (closed, queue full, body unknown)."
);
create_exception!(
    rlswarm._core,
    QueueFull,
    NetworkError,
    "The network is slower than the caller: try again soon."
);
create_exception!(
    rlswarm._core,
    NoPeers,
    NetworkError,
    "No peer is connected: try again when one has joined."
);
create_exception!(
    rlswarm._core,
    TooLarge,
    NetworkError,
    "A record is larger than the swarm allows, or its author's share of the round is spent."
);
