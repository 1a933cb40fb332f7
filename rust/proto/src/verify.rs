//! Signature checks, alone and in batches, that always agree.
//!
//! Swarm decisions rest on which headers nodes let in, and a node that forwards a header which its
//! neighbours refuse is punished for it. So a check alone, and one in a batch of any composition,
//! must give one verdict. The usual rules don't: a strict check alone refuses crafted signatures
//! with a torsion component that a batch passes one time in eight. The ZIP 215 rules
//! (<https://zips.z.cash/zip-0215>), cofactored in both, agree by construction.

use ed25519_zebra::batch;
use ed25519_zebra::{Signature, VerificationKeyBytes};
use rand_core::UnwrapErr;

use crate::error::RecordError;
use crate::header::Header;

fn item(header: &Header) -> batch::Item {
    batch::Item::from((
        VerificationKeyBytes::from(header.fields().author),
        Signature::from_bytes(&header.signature()),
        header.hash(),
    ))
}

/// Check one header's signature.
///
/// # Errors
/// [`RecordError::Signature`] if it is wrong.
pub fn verify(header: &Header) -> Result<(), RecordError> {
    item(header)
        .verify_single()
        .map_err(|_| RecordError::Signature)
}

/// Check many headers' signatures, at about half the cost each. The answer at `i` is that of
/// [`verify`] on `headers[i]`.
#[must_use]
pub fn verify_batch(headers: &[&Header]) -> Vec<bool> {
    let mut batch = batch::Verifier::new();
    for header in headers {
        batch.queue(item(header));
    }
    if batch.verify(UnwrapErr(getrandom::SysRng)).is_ok() {
        return vec![true; headers.len()];
    }
    // A batch doesn't say which one was wrong.
    headers
        .iter()
        .map(|header| verify(header).is_ok())
        .collect()
}
