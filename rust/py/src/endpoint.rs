//! The network endpoint and what it reports.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use rlswarm_net::{CommandError, Config, OpenError, What};
use rlswarm_proto::admission::Rules;
use rlswarm_proto::body as records;

use crate::body::Body;
use crate::convert::hash;
use crate::errors::{
    AddressError, KeyFileError, NetworkError, NoPeers, PortInUseError, QueueFull, TooLarge,
};
use crate::identity::Identity;
use crate::records::{Header, Record};

fn open_error(error: OpenError) -> PyErr {
    match error {
        OpenError::Address(text) => AddressError::new_err(text),
        OpenError::PortInUse(_) => PortInUseError::new_err(error.to_string()),
        OpenError::SwarmKey(text) => KeyFileError::new_err(text),
        OpenError::Network(text) => NetworkError::new_err(text),
    }
}

fn command_error(error: CommandError) -> PyErr {
    match error {
        CommandError::Address(text) => AddressError::new_err(text),
        CommandError::NoPeerId(_) => AddressError::new_err(error.to_string()),
        CommandError::QueueFull => QueueFull::new_err(error.to_string()),
        CommandError::NoPeers => NoPeers::new_err(error.to_string()),
        CommandError::TooLarge(_) => TooLarge::new_err(error.to_string()),
        error => NetworkError::new_err(error.to_string()),
    }
}

#[pyclass(frozen, module = "rlswarm._core")]
pub(crate) struct Event {
    inner: rlswarm_net::Event,
}

#[pymethods]
impl Event {
    #[getter]
    fn kind(&self) -> &'static str {
        match self.inner.what {
            What::Header { .. } => "header",
            What::Body { .. } => "body",
            What::FetchFailed { .. } => "fetch_failed",
            What::PeerJoined { .. } => "peer_joined",
            What::PeerLeft { .. } => "peer_left",
            What::OtherSwarm { .. } => "other_swarm",
            What::Unreachable { .. } => "unreachable",
            What::Reachability { .. } => "reachability",
        }
    }

    #[getter]
    fn at_ms(&self) -> u64 {
        self.inner.at_ms
    }

    #[getter]
    fn peer(&self) -> String {
        match &self.inner.what {
            What::Header { peer, .. }
            | What::PeerJoined { peer, .. }
            | What::PeerLeft { peer, .. }
            | What::OtherSwarm { peer, .. } => peer.to_string(),
            What::Body { .. }
            | What::FetchFailed { .. }
            | What::Unreachable { .. }
            | What::Reachability { .. } => String::new(),
        }
    }

    #[getter]
    fn header(&self) -> Option<Header> {
        match &self.inner.what {
            What::Header { header, .. }
            | What::Body { header, .. }
            | What::FetchFailed { header, .. } => Some(Header {
                inner: header.clone(),
            }),
            _ => None,
        }
    }

    /// A view of the bytes where they lie; it keeps them alive.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let bytes = match &self.inner.what {
            What::Body { body, .. } => body.clone(),
            _ => Bytes::new(),
        };
        PyMemoryView::from(Bound::new(py, Body { bytes })?.as_any())
    }

    #[getter]
    fn detail(&self) -> &str {
        match &self.inner.what {
            What::FetchFailed { detail, .. }
            | What::OtherSwarm { detail, .. }
            | What::Unreachable { detail }
            | What::Reachability { detail, .. } => detail,
            What::PeerJoined { address, .. } | What::PeerLeft { address, .. } => address,
            What::Header { .. } | What::Body { .. } => "",
        }
    }

    fn __repr__(&self) -> String {
        format!("Event({}, {} {})", self.kind(), self.peer(), self.detail())
    }
}

#[pyclass(frozen, get_all, module = "rlswarm._core")]
pub(crate) struct Link {
    peer: String,
    address: String,
    relayed: bool,
    dialled: bool,
}

#[pymethods]
impl Link {
    fn __repr__(&self) -> String {
        let way = if self.relayed { "relayed" } else { "direct" };
        format!("Link({} at {}, {way})", self.peer, self.address)
    }
}

#[pyclass(frozen, module = "rlswarm._core")]
pub(crate) struct Endpoint {
    // Always there until it is dropped.
    inner: Option<rlswarm_net::Endpoint>,
    peer_id: String,
    process: u32,
}

impl Endpoint {
    /// The endpoint, unless it was closed or belongs to a parent process.
    fn open(&self) -> PyResult<&rlswarm_net::Endpoint> {
        let endpoint = self.own()?;
        if endpoint.is_closed() {
            return Err(NetworkError::new_err("the endpoint is closed"));
        }
        Ok(endpoint)
    }

    fn own(&self) -> PyResult<&rlswarm_net::Endpoint> {
        match &self.inner {
            Some(endpoint) if self.process == std::process::id() => Ok(endpoint),
            _ => Err(NetworkError::new_err(
                "the endpoint was made before a fork and can't be used in the child process: \
                 start child processes with 'spawn', or make the endpoint after the fork",
            )),
        }
    }
}

#[pymethods]
impl Endpoint {
    #[new]
    #[pyo3(signature = (identity, swarm, *, genesis_ms, round_ms,
        listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()], peers = vec![], known = vec![],
        public_addresses = vec![], swarm_key = None, relay = false, mdns = false, upnp = false,
        blocked = vec![], memory_limit = None, staleness_rounds = 4, clock_offset_ms = 5000,
        max_body_stored = 4 << 20, max_body_raw = 16 << 20, author_quota = 16 << 20,
        wake = None))]
    #[allow(clippy::too_many_arguments)] // keyword-only in Python
    fn new(
        py: Python<'_>,
        identity: &Identity,
        swarm: &[u8],
        genesis_ms: u64,
        round_ms: u64,
        listen: Vec<String>,
        peers: Vec<String>,
        known: Vec<String>,
        public_addresses: Vec<String>,
        swarm_key: Option<String>,
        relay: bool,
        mdns: bool,
        upnp: bool,
        blocked: Vec<String>,
        memory_limit: Option<usize>,
        staleness_rounds: u64,
        clock_offset_ms: u64,
        max_body_stored: u32,
        max_body_raw: u32,
        author_quota: u64,
        wake: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        if round_ms == 0 {
            return Err(pyo3::exceptions::PyValueError::new_err(
                "round_ms: at least 1 wanted",
            ));
        }
        let config = Config {
            rules: Rules {
                swarm: hash("swarm", swarm)?,
                genesis_ms,
                round_ms,
                staleness_rounds,
                clock_offset_ms,
                max_body_stored,
                max_body_raw,
                author_quota,
            },
            listen,
            peers,
            known,
            public_addresses,
            swarm_key,
            relay,
            mdns,
            upnp,
            blocked,
            memory_limit,
        };
        let wake = wake.map(|callable| Box::new(move || call(&callable)) as Box<dyn Fn() + Send>);
        let inner = py
            .detach(|| rlswarm_net::Endpoint::open(&identity.inner, config, wake))
            .map_err(open_error)?;
        Ok(Self {
            peer_id: inner.peer_id(),
            inner: Some(inner),
            process: std::process::id(),
        })
    }

    #[getter]
    fn peer_id(&self) -> String {
        self.peer_id.clone()
    }

    fn addresses(&self) -> PyResult<Vec<String>> {
        Ok(self.open()?.addresses())
    }

    fn peers(&self) -> PyResult<Vec<String>> {
        Ok(self.open()?.peers())
    }

    fn links(&self) -> PyResult<Vec<Link>> {
        let links = self.open()?.links().into_iter();
        Ok(links
            .map(|link| Link {
                peer: link.peer,
                address: link.address,
                relayed: link.relayed,
                dialled: link.dialled,
            })
            .collect())
    }

    fn reachability(&self) -> PyResult<(&'static str, String)> {
        let (verdict, detail) = self.open()?.reachability();
        Ok((verdict.word(), detail))
    }

    fn met(&self) -> PyResult<Vec<(Vec<String>, u64)>> {
        Ok(self.open()?.met())
    }

    fn learn(&self, peer: &str, addresses: Vec<String>) -> PyResult<()> {
        self.open()?.learn(peer, &addresses).map_err(command_error)
    }

    fn set_standing(&self, peer: &str, standing: f64) -> PyResult<()> {
        self.open()?
            .set_standing(peer, standing)
            .map_err(command_error)
    }

    fn block(&self, peer: &str) -> PyResult<()> {
        self.open()?.block(peer).map_err(command_error)
    }

    fn unblock(&self, peer: &str) -> PyResult<()> {
        self.open()?.unblock(peer).map_err(command_error)
    }

    fn blocked(&self) -> PyResult<Vec<String>> {
        Ok(self.open()?.blocked())
    }

    fn dial(&self, address: &str) -> PyResult<()> {
        self.open()?.dial(address).map_err(command_error)
    }

    fn announce(&self, py: Python<'_>, record: &Record) -> PyResult<()> {
        let endpoint = self.open()?;
        let record = records::Record {
            header: (*record.header).clone(),
            stored: record.stored.clone(),
        };
        py.detach(|| endpoint.announce(record))
            .map_err(command_error)
    }

    fn reveal(&self, py: Python<'_>, record_hash: &[u8]) -> PyResult<()> {
        let endpoint = self.open()?;
        let record = hash("record_hash", record_hash)?;
        py.detach(|| endpoint.reveal(&record))
            .map_err(command_error)
    }

    fn fetch(&self, py: Python<'_>, record_hash: &[u8], timeout_ms: u64) -> PyResult<()> {
        let endpoint = self.open()?;
        let record = hash("record_hash", record_hash)?;
        py.detach(|| endpoint.fetch(&record, Duration::from_millis(timeout_ms)))
            .map_err(command_error)
    }

    #[pyo3(signature = (max_items = 1024, max_bytes = 64 << 20))]
    fn drain(&self, py: Python<'_>, max_items: usize, max_bytes: usize) -> PyResult<Vec<Event>> {
        let endpoint = self.open()?;
        let events = py
            .detach(|| endpoint.drain(max_items, max_bytes))
            .map_err(command_error)?;
        Ok(events.into_iter().map(|inner| Event { inner }).collect())
    }

    fn statistics(&self) -> PyResult<HashMap<&'static str, u64>> {
        Ok(self.open()?.statistics().into_iter().collect())
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let endpoint = self.own()?;
        py.detach(|| endpoint.close());
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("Endpoint({})", self.peer_id())
    }
}

impl Drop for Endpoint {
    // A forked child has none of the threads, and must not touch what is left of them.
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.inner.take());
        }
    }
}

// Runs on the wake thread. While Python shuts down there is nobody to wake.
fn call(callable: &Py<PyAny>) {
    Python::try_attach(|py| {
        if let Err(error) = callable.call0(py) {
            error.write_unraisable(py, Some(callable.bind(py)));
        }
    });
}
