//! Hashes, keyed randomness and Merkle trees.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rlswarm_proto::merkle::{self, Tree};
use rlswarm_proto::{Hash, prf as randomness};

use crate::convert::{hash, hashes};

#[pyfunction]
pub(crate) fn blake3<'py>(py: Python<'py>, data: &[u8]) -> Bound<'py, PyBytes> {
    let digest: Hash = py.detach(|| rlswarm_proto::prf::blake3(data));
    PyBytes::new(py, &digest)
}

#[pyfunction]
pub(crate) fn prf<'py>(
    py: Python<'py>,
    domain: &str,
    parts: Vec<Bound<'py, PyBytes>>,
) -> Bound<'py, PyBytes> {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    PyBytes::new(py, &randomness::prf(domain, &parts))
}

#[pyfunction]
pub(crate) fn uniforms<'py>(
    py: Python<'py>,
    key: &[u8],
    sample: u64,
    count: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let key = hash("key", key)?;
    if count > MAX_UNIFORMS {
        return Err(PyValueError::new_err(format!(
            "count: at most {MAX_UNIFORMS} wanted, got {count}"
        )));
    }
    let numbers = py.detach(|| randomness::uniforms(&key, sample, count));
    PyBytes::new_with(py, count * 8, |out| {
        for (slot, number) in out.as_chunks_mut::<8>().0.iter_mut().zip(&numbers) {
            *slot = number.to_le_bytes();
        }
        Ok(())
    })
}

/// 512 MiB of numbers: more is a mistake, and better told than tried.
const MAX_UNIFORMS: usize = 1 << 26;

#[pyfunction]
pub(crate) fn merkle_leaf<'py>(py: Python<'py>, words: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if !words.len().is_multiple_of(32) {
        return Err(PyValueError::new_err(format!(
            "words: a multiple of 32 bytes wanted, got {}",
            words.len()
        )));
    }
    Ok(PyBytes::new(py, &merkle::leaf(words)))
}

#[pyfunction]
pub(crate) fn merkle_root<'py>(
    py: Python<'py>,
    leaves: Vec<Bound<'py, PyBytes>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let leaves = hashes("leaves", &leaves)?;
    let root = py.detach(|| Tree::new(&leaves).root());
    Ok(PyBytes::new(py, &root))
}

#[pyfunction]
pub(crate) fn merkle_proof<'py>(
    py: Python<'py>,
    leaves: Vec<Bound<'py, PyBytes>>,
    leaf: &[u8],
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let leaves = hashes("leaves", &leaves)?;
    let leaf = hash("leaf", leaf)?;
    let path = py
        .detach(|| Tree::new(&leaves).proof(&leaf))
        .ok_or_else(|| PyValueError::new_err("leaf: not one of the leaves"))?;
    Ok(path.iter().map(|node| PyBytes::new(py, node)).collect())
}

#[pyfunction]
pub(crate) fn merkle_verify(
    root: &[u8],
    leaf: &[u8],
    proof: Vec<Bound<'_, PyBytes>>,
) -> PyResult<bool> {
    let proof = hashes("proof", &proof)?;
    Ok(merkle::verify(
        &hash("root", root)?,
        &hash("leaf", leaf)?,
        &proof,
    ))
}
