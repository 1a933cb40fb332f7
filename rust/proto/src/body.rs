//! Stored bodies: one zstd frame, named by the BLAKE3 hash of its bytes.

use zstd::zstd_safe;

use crate::error::RecordError;
use crate::header::{Fields, Header};
use crate::identity::Identity;

/// The compression level of stored bodies: level 3 costs a third of the speed for less than 5%.
const LEVEL: i32 = 1;

/// A header with its stored body, checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The signed part.
    pub header: Header,
    /// The compressed body.
    pub stored: bytes::Bytes,
}

/// Compress `body`, fill in what `fields` says about it, and sign.
///
/// # Errors
/// [`RecordError`] if a field is out of range or the body has 4 GiB or more.
pub fn seal(identity: &Identity, mut fields: Fields, body: &[u8]) -> Result<Record, RecordError> {
    let too_large = |len: usize| RecordError::BodyTooLarge {
        len: len as u64,
        max: u64::from(u32::MAX),
    };
    fields.body_raw = u32::try_from(body.len()).map_err(|_| too_large(body.len()))?;
    let stored = zstd::bulk::compress(body, LEVEL).map_err(|_| RecordError::Compression)?;
    fields.body_stored = u32::try_from(stored.len()).map_err(|_| too_large(stored.len()))?;
    fields.body_hash = *blake3::hash(&stored).as_bytes();
    Ok(Record {
        header: Header::sign(identity, fields)?,
        stored: stored.into(),
    })
}

/// Check that `stored` is the body that `header` names: length first, then hash.
///
/// # Errors
/// [`RecordError::StoredLength`] or [`RecordError::BodyHash`].
pub fn check_stored(header: &Header, stored: &[u8]) -> Result<(), RecordError> {
    let declared = header.fields().body_stored;
    if stored.len() as u64 != u64::from(declared) {
        return Err(RecordError::StoredLength {
            got: stored.len(),
            declared,
        });
    }
    if blake3::hash(stored) != blake3::Hash::from_bytes(header.fields().body_hash) {
        return Err(RecordError::BodyHash);
    }
    Ok(())
}

/// Check a stored body and decompress it. Nothing is allocated before the size that the header
/// declares was found to be at most `max_raw` bytes and equal to what the frame declares.
///
/// # Errors
/// [`RecordError`] if the body is not the header's, is larger than `max_raw`, or is no zstd frame
/// of the declared size.
pub fn open_body(header: &Header, stored: &[u8], max_raw: usize) -> Result<Vec<u8>, RecordError> {
    let declared = header.fields().body_raw;
    let too_large = || RecordError::BodyTooLarge {
        len: u64::from(declared),
        max: max_raw as u64,
    };
    let capacity = usize::try_from(declared).map_err(|_| too_large())?;
    if capacity > max_raw {
        return Err(too_large());
    }
    check_stored(header, stored)?;
    match zstd_safe::get_frame_content_size(stored) {
        Ok(Some(size)) if size == u64::from(declared) => {}
        _ => return Err(RecordError::Compression),
    }
    let raw = zstd::bulk::decompress(stored, capacity).map_err(|_| RecordError::Compression)?;
    if raw.len() != capacity {
        return Err(RecordError::Compression);
    }
    Ok(raw)
}
