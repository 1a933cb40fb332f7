//! The peer key.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rlswarm_proto::identity as proto;

use crate::convert::hash;
use crate::errors::{CoreError, KeyFileError};

#[pyclass(frozen, module = "rlswarm._core")]
pub(crate) struct Identity {
    pub(crate) inner: proto::Identity,
}

#[pymethods]
impl Identity {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        let inner =
            proto::Identity::generate().map_err(|error| CoreError::new_err(error.to_string()))?;
        Ok(Self { inner })
    }

    #[staticmethod]
    fn from_seed(seed: &[u8]) -> PyResult<Self> {
        let inner = proto::Identity::from_seed(&hash("seed", seed)?);
        Ok(Self { inner })
    }

    #[staticmethod]
    fn from_pem(text: &str) -> PyResult<Self> {
        let inner = proto::Identity::from_pem(text)
            .map_err(|error| KeyFileError::new_err(error.to_string()))?;
        Ok(Self { inner })
    }

    fn to_pem(&self) -> PyResult<String> {
        let pem = self
            .inner
            .to_pem()
            .map_err(|error| KeyFileError::new_err(error.to_string()))?;
        Ok(pem.as_str().to_owned())
    }

    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.public_key())
    }

    #[getter]
    fn peer_id(&self) -> String {
        proto::peer_id(&self.inner.public_key())
    }

    // Never the secret.
    fn __repr__(&self) -> String {
        format!("Identity({})", self.peer_id())
    }
}

#[pyfunction]
pub(crate) fn peer_id(public_key: &[u8]) -> PyResult<String> {
    Ok(proto::peer_id(&hash("public_key", public_key)?))
}
