//! Python values to fixed-size Rust ones, with errors that name the argument.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rlswarm_proto::Hash;

use crate::errors::RecordError;

/// 32 bytes, or `ValueError`.
pub(crate) fn hash(name: &str, bytes: &[u8]) -> PyResult<Hash> {
    bytes
        .try_into()
        .map_err(|_| PyValueError::new_err(format!("{name}: 32 bytes wanted, got {}", bytes.len())))
}

/// 32 bytes of a record's field, or `RecordError`.
pub(crate) fn record_hash(name: &str, bytes: &[u8]) -> PyResult<Hash> {
    bytes
        .try_into()
        .map_err(|_| RecordError::new_err(format!("{name}: 32 bytes wanted, got {}", bytes.len())))
}

/// An integer of a record's field, or `RecordError` if it doesn't fit.
pub(crate) fn record_int<'py, T>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    value.extract::<T>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            RecordError::new_err(format!("{name} is out of range"))
        } else {
            error
        }
    })
}

/// 32-byte hashes of a list, or `ValueError`.
pub(crate) fn hashes(name: &str, list: &[Bound<'_, PyBytes>]) -> PyResult<Vec<Hash>> {
    list.iter()
        .map(|item| hash(name, item.as_bytes()))
        .collect()
}
