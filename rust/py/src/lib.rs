//! `rlswarm._core`: the Rust core as Python sees it. Signatures and their documentation are in
//! `python/rlswarm/_core.pyi`.

// PyO3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod body;
mod convert;
mod endpoint;
mod errors;
mod functions;
mod identity;
mod records;

/// The module itself.
#[pyo3::pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::endpoint::{Endpoint, Event, Link};
    #[pymodule_export]
    use crate::errors::{
        AddressError, CoreError, KeyFileError, NetworkError, NoPeers, PortInUseError, QueueFull,
        RecordError, TooLarge,
    };
    #[pymodule_export]
    use crate::functions::{
        blake3, merkle_leaf, merkle_proof, merkle_root, merkle_verify, prf, uniforms,
    };
    #[pymodule_export]
    use crate::identity::{Identity, peer_id};
    #[pymodule_export]
    use crate::records::{Header, Record, decode_header, open_body, seal};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__libp2p_version__", rlswarm_net::LIBP2P_VERSION)
    }
}
