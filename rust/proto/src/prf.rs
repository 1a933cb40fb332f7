//! Keyed randomness that every node computes alike.

use crate::Hash;

/// The BLAKE3 hash of `data`.
#[must_use]
pub fn blake3(data: &[u8]) -> Hash {
    *blake3::hash(data).as_bytes()
}

/// BLAKE3 `derive_key(domain)` over the parts, each prefixed by its length as u64 little-endian,
/// so that no two lists of parts collide.
#[must_use]
pub fn prf(domain: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// `count` numbers in the open interval (0, 1) for one sample.
///
/// Number t is (k + 1/2) / 2^52, k the top 52 bits of the t-th little-endian u64 of the BLAKE3 XOF
/// keyed by `key` over `sample` (u64 little-endian). 52 bits, not 53: k + 1/2 is then exact in
/// float64, so that neither 0 nor 1 can come out. A prefix never depends on `count`.
#[must_use]
pub fn uniforms(key: &Hash, sample: u64, count: usize) -> Vec<f64> {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&sample.to_le_bytes());
    let mut reader = hasher.finalize_xof();
    let mut out = Vec::with_capacity(count);
    // In blocks, so that the memory needed beside the result stays small.
    let mut block = [0; 1024];
    while out.len() < count {
        reader.fill(&mut block);
        let wanted = count - out.len();
        out.extend(block.as_chunks::<8>().0.iter().take(wanted).map(|word| {
            #[allow(clippy::cast_precision_loss)] // below 2^52: exact
            let k = (u64::from_le_bytes(*word) >> 12) as f64;
            (k + 0.5) * f64::EPSILON
        }));
    }
    out
}
