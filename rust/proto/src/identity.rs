//! The peer key: Ed25519, kept as PKCS#8 PEM, shown as a libp2p `PeerId`.

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use crate::PublicKey;
use crate::header::SIGNATURE;

/// Text that is not an Ed25519 private key in PKCS#8 PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS#8 PEM")]
pub struct KeyTextError;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct EntropyError;

/// An Ed25519 key pair. The secret is wiped from memory on drop.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity")
            .field(&peer_id(&self.public_key()))
            .finish()
    }
}

impl Identity {
    /// A fresh key from the operating system's randomness.
    ///
    /// # Errors
    /// [`EntropyError`] if there is none.
    pub fn generate() -> Result<Self, EntropyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|_| EntropyError)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of 32 secret bytes (RFC 8032 calls them the private key).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            key: SigningKey::from_bytes(seed),
        }
    }

    /// Read a PKCS#8 private key in PEM.
    ///
    /// # Errors
    /// [`KeyTextError`] for anything else.
    pub fn from_pem(text: &str) -> Result<Self, KeyTextError> {
        SigningKey::from_pkcs8_pem(text)
            .map(|key| Self { key })
            .map_err(|_| KeyTextError)
    }

    /// The key as PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyTextError`] if it can't be encoded, which no valid key causes.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyTextError> {
        self.key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyTextError)
    }

    /// The 32 secret bytes.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key.verifying_key().to_bytes()
    }

    /// Sign a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.key.sign(message).to_bytes()
    }
}

/// The libp2p `PeerId` of an Ed25519 public key, base58: an identity multihash (code 0, 36 bytes)
/// over the protobuf `PublicKey { type: Ed25519 = 1, data }`
/// (<https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>).
#[must_use]
pub fn peer_id(public_key: &PublicKey) -> String {
    let mut bytes = [0; 38];
    bytes[..6].copy_from_slice(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20]);
    bytes[6..].copy_from_slice(public_key);
    bs58::encode(bytes).into_string()
}
