//! Bodies as Python sees them: read in place, never copied.

use std::ffi::{c_int, c_void};

use bytes::Bytes;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Bytes that were received, for the buffer protocol. Python code sees only views of it.
#[pyclass(frozen, module = "rlswarm._core")]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
}

#[pymethods]
impl Body {
    fn __len__(&self) -> usize {
        self.bytes.len()
    }

    fn __repr__(&self) -> String {
        format!("Body({} bytes)", self.bytes.len())
    }

    /// # Safety
    /// Python calls this with a view of its own to fill in.
    #[allow(unsafe_code)] // the buffer protocol has no safe face
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let (start, len) = {
            let bytes = &slf.get().bytes;
            (bytes.as_ptr(), bytes.len())
        };
        let len = ffi::Py_ssize_t::try_from(len)
            .map_err(|_| PyBufferError::new_err("the body is too long"))?;
        // SAFETY: the bytes neither move nor change while the object lives, and the view keeps a
        // reference to it. It is marked as read-only.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                start.cast_mut().cast::<c_void>(),
                len,
                1,
                flags,
            )
        };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
