//! Headers, bodies and what joins them.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rlswarm_proto::header::{self, Fields};
use rlswarm_proto::kind::Kind;
use rlswarm_proto::{body, error, verify};

use crate::convert::{hash, record_hash, record_int};
use crate::errors::RecordError;
use crate::identity::Identity;

fn record_error(error: error::RecordError) -> PyErr {
    RecordError::new_err(error.to_string())
}

#[pyclass(frozen, eq, hash, module = "rlswarm._core")]
#[derive(PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) inner: Arc<header::Header>,
}

// A record's name stands for all of it.
impl std::hash::Hash for Header {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.hash().hash(state);
    }
}

impl Header {
    fn fields(&self) -> &Fields {
        self.inner.fields()
    }
}

#[pymethods]
impl Header {
    #[getter]
    fn hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.hash())
    }

    #[getter]
    fn encoded<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.encoded())
    }

    #[getter]
    fn swarm<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.fields().swarm)
    }

    #[getter]
    fn kind(&self) -> u8 {
        self.fields().kind as u8
    }

    #[getter]
    fn round(&self) -> u64 {
        self.fields().round
    }

    #[getter]
    fn lottery_root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.fields().lottery_root)
    }

    #[getter]
    fn stage(&self) -> u8 {
        self.fields().stage
    }

    #[getter]
    fn slots(&self) -> Vec<u16> {
        self.fields().slots.clone()
    }

    #[getter]
    fn author<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.fields().author)
    }

    #[getter]
    fn peer_id(&self) -> String {
        self.inner.peer_id()
    }

    #[getter]
    fn sequence(&self) -> u64 {
        self.fields().sequence
    }

    #[getter]
    fn created_at_ms(&self) -> u64 {
        self.fields().created_at_ms
    }

    #[getter]
    fn base<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.fields().base)
    }

    #[getter]
    fn adapter<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.fields().adapter)
    }

    #[getter]
    fn persona(&self) -> &str {
        &self.fields().persona
    }

    #[getter]
    fn body_stored(&self) -> u32 {
        self.fields().body_stored
    }

    #[getter]
    fn body_raw(&self) -> u32 {
        self.fields().body_raw
    }

    #[getter]
    fn body_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.fields().body_hash)
    }

    fn __repr__(&self) -> String {
        let fields = self.fields();
        format!(
            "Header({:?}, round {}, stage {}, sequence {}, by {})",
            fields.kind,
            fields.round,
            fields.stage,
            fields.sequence,
            self.inner.peer_id()
        )
    }
}

#[pyclass(frozen, module = "rlswarm._core")]
pub(crate) struct Record {
    pub(crate) header: Arc<header::Header>,
    pub(crate) stored: bytes::Bytes,
}

#[pymethods]
impl Record {
    #[getter]
    fn header(&self) -> Header {
        Header {
            inner: Arc::clone(&self.header),
        }
    }

    #[getter]
    fn stored<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.stored)
    }
}

#[pyfunction]
#[pyo3(signature = (identity, *, swarm, kind, round, lottery_root, stage, slots, sequence,
    created_at_ms, base, adapter, persona, body))]
#[allow(clippy::too_many_arguments)] // keyword-only in Python, one for each field
pub(crate) fn seal(
    py: Python<'_>,
    identity: &Identity,
    swarm: &[u8],
    kind: &Bound<'_, PyAny>,
    round: &Bound<'_, PyAny>,
    lottery_root: &[u8],
    stage: &Bound<'_, PyAny>,
    slots: Vec<Bound<'_, PyAny>>,
    sequence: &Bound<'_, PyAny>,
    created_at_ms: &Bound<'_, PyAny>,
    base: &[u8],
    adapter: &[u8],
    persona: String,
    body: &[u8],
) -> PyResult<Record> {
    let slots = slots
        .iter()
        .map(|slot| record_int("slots", slot))
        .collect::<PyResult<Vec<u16>>>()?;
    let fields = Fields {
        swarm: record_hash("swarm", swarm)?,
        kind: Kind::try_from(record_int::<u8>("kind", kind)?).map_err(record_error)?,
        round: record_int("round", round)?,
        lottery_root: record_hash("lottery_root", lottery_root)?,
        stage: record_int("stage", stage)?,
        slots,
        author: identity.inner.public_key(),
        sequence: record_int("sequence", sequence)?,
        created_at_ms: record_int("created_at_ms", created_at_ms)?,
        base: record_hash("base", base)?,
        adapter: record_hash("adapter", adapter)?,
        persona,
        body_stored: 0,
        body_raw: 0,
        body_hash: [0; 32],
    };
    let record = py
        .detach(|| body::seal(&identity.inner, fields, body))
        .map_err(record_error)?;
    Ok(Record {
        header: Arc::new(record.header),
        stored: record.stored,
    })
}

#[pyfunction]
pub(crate) fn decode_header(py: Python<'_>, encoded: &[u8], swarm: &[u8]) -> PyResult<Header> {
    let swarm = hash("swarm", swarm)?;
    let inner = py
        .detach(|| {
            let header = header::Header::decode(encoded)?;
            if header.fields().swarm != swarm {
                return Err(error::RecordError::OtherSwarm);
            }
            verify::verify(&header)?;
            Ok(Arc::new(header))
        })
        .map_err(record_error)?;
    Ok(Header { inner })
}

#[pyfunction]
pub(crate) fn open_body<'py>(
    py: Python<'py>,
    header: &Header,
    stored: &[u8],
    max_raw: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let raw = py
        .detach(|| body::open_body(&header.inner, stored, max_raw))
        .map_err(record_error)?;
    Ok(PyBytes::new(py, &raw))
}
