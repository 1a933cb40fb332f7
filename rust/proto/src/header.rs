//! The signed, gossiped part of a record and its one encoding.
//!
//! | field | bytes |
//! | --- | --- |
//! | version (1) | 1 |
//! | swarm id | 32 |
//! | kind | 1 |
//! | round | 8 |
//! | lottery root | 32 |
//! | stage | 1 |
//! | number of slots, slots | 2, 2 each |
//! | author | 32 |
//! | sequence | 8 |
//! | created at, Unix milliseconds | 8 |
//! | base, adapter | 32, 32 |
//! | length of persona, persona | 1, at most 64 |
//! | body stored, body raw | 4, 4 |
//! | hash of the stored body | 32 |
//! | signature | 64 |
//!
//! Integers are little-endian. Every field has one encoding, so `encode(decode(x)) == x` for each
//! `x` that decodes, and two headers are equal exactly when their bytes are.

use crate::error::RecordError;
use crate::identity::{Identity, peer_id};
use crate::kind::Kind;
use crate::{Hash, PublicKey};

/// The version of the encoding that this code speaks.
pub const VERSION: u8 = 1;
/// The longest header, in bytes with its signature.
pub const MAX_HEADER: usize = 2048;
/// The most task slots that one record may cover.
pub const MAX_SLOTS: usize = 256;
/// The longest persona, in bytes.
pub const MAX_PERSONA: usize = 64;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE: usize = 64;

const HASH_CONTEXT: &str = "rlswarm 2026 record header v1";

/// What an author states about a record, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The swarm that the record belongs to.
    pub swarm: Hash,
    /// What the record is about.
    pub kind: Kind,
    /// The round it belongs to.
    pub round: u64,
    /// The sealed root that drove the round's lottery.
    pub lottery_root: Hash,
    /// The stage of the game.
    pub stage: u8,
    /// Task slots in the body, strictly increasing.
    pub slots: Vec<u16>,
    /// Who signs.
    pub author: PublicKey,
    /// A number that the author never uses twice.
    pub sequence: u64,
    /// Unix milliseconds by the author's clock.
    pub created_at_ms: u64,
    /// Hash that names the base model.
    pub base: Hash,
    /// Hash that names the adapter.
    pub adapter: Hash,
    /// The persona's name, or nothing.
    pub persona: String,
    /// Bytes of the stored (compressed) body.
    pub body_stored: u32,
    /// Bytes of the body before compression.
    pub body_raw: u32,
    /// BLAKE3 of the stored body.
    pub body_hash: Hash,
}

/// A header whose bytes are canonical. Holding one does not mean that its signature was checked:
/// see [`crate::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    fields: Fields,
    hash: Hash,
    encoded: Vec<u8>,
}

impl Header {
    /// Sign `fields` as `identity`, which becomes the author.
    ///
    /// # Errors
    /// [`RecordError`] if a field is out of range.
    pub fn sign(identity: &Identity, mut fields: Fields) -> Result<Self, RecordError> {
        fields.author = identity.public_key();
        check_slots(&fields.slots)?;
        check_persona(&fields.persona)?;
        let mut encoded = encode_unsigned(&fields);
        let hash = header_hash(&encoded);
        encoded.extend_from_slice(&identity.sign(&hash));
        Ok(Self {
            fields,
            hash,
            encoded,
        })
    }

    /// Read a header's one encoding. The signature is kept and not checked.
    ///
    /// # Errors
    /// [`RecordError`] for anything that [`Header::sign`] could not have written.
    pub fn decode(encoded: &[u8]) -> Result<Self, RecordError> {
        if encoded.len() > MAX_HEADER {
            return Err(RecordError::TooLong {
                len: encoded.len(),
                max: MAX_HEADER,
            });
        }
        let mut reader = Reader { rest: encoded };
        let [version] = reader.array()?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let swarm = reader.array()?;
        let [kind] = reader.array()?;
        let kind = Kind::try_from(kind)?;
        let round = u64::from_le_bytes(reader.array()?);
        let lottery_root = reader.array()?;
        let [stage] = reader.array()?;
        let slot_count = usize::from(u16::from_le_bytes(reader.array()?));
        if slot_count > MAX_SLOTS {
            return Err(RecordError::SlotCount {
                len: slot_count,
                max: MAX_SLOTS,
            });
        }
        let slots: Vec<u16> = reader
            .take(slot_count * 2)?
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        check_slots(&slots)?;
        let author = reader.array()?;
        let sequence = u64::from_le_bytes(reader.array()?);
        let created_at_ms = u64::from_le_bytes(reader.array()?);
        let base = reader.array()?;
        let adapter = reader.array()?;
        let [persona_len] = reader.array()?;
        if usize::from(persona_len) > MAX_PERSONA {
            return Err(RecordError::Persona);
        }
        let persona = std::str::from_utf8(reader.take(usize::from(persona_len))?)
            .map_err(|_| RecordError::Persona)?
            .to_owned();
        check_persona(&persona)?;
        let body_stored = u32::from_le_bytes(reader.array()?);
        let body_raw = u32::from_le_bytes(reader.array()?);
        let body_hash = reader.array()?;
        let signed = encoded.len() - reader.rest.len();
        reader.take(SIGNATURE)?;
        if !reader.rest.is_empty() {
            return Err(RecordError::Trailing(reader.rest.len()));
        }
        Ok(Self {
            fields: Fields {
                swarm,
                kind,
                round,
                lottery_root,
                stage,
                slots,
                author,
                sequence,
                created_at_ms,
                base,
                adapter,
                persona,
                body_stored,
                body_raw,
                body_hash,
            },
            hash: header_hash(&encoded[..signed]),
            encoded: encoded.to_vec(),
        })
    }

    /// What the author stated.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The record's name: BLAKE3 `derive_key` over the encoding without the signature. This digest
    /// is what the author signed, so a second signature by the same author gives no second name.
    #[must_use]
    pub const fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Canonical bytes with the signature.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The signature: the last 64 bytes of the encoding.
    #[must_use]
    pub fn signature(&self) -> [u8; SIGNATURE] {
        let mut signature = [0; SIGNATURE];
        signature.copy_from_slice(&self.encoded[self.encoded.len() - SIGNATURE..]);
        signature
    }

    /// The author's libp2p `PeerId`, base58.
    #[must_use]
    pub fn peer_id(&self) -> String {
        peer_id(&self.fields.author)
    }
}

fn header_hash(unsigned: &[u8]) -> Hash {
    blake3::derive_key(HASH_CONTEXT, unsigned)
}

fn check_slots(slots: &[u16]) -> Result<(), RecordError> {
    if slots.len() > MAX_SLOTS {
        return Err(RecordError::SlotCount {
            len: slots.len(),
            max: MAX_SLOTS,
        });
    }
    if slots.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(RecordError::SlotOrder);
    }
    Ok(())
}

// Personas are shown in terminals and pages, where control characters do harm.
fn check_persona(persona: &str) -> Result<(), RecordError> {
    if persona.len() > MAX_PERSONA || persona.chars().any(char::is_control) {
        return Err(RecordError::Persona);
    }
    Ok(())
}

// Lengths were checked by the caller, so the casts below can't cut anything off.
#[allow(clippy::cast_possible_truncation)]
fn encode_unsigned(fields: &Fields) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.push(VERSION);
    out.extend_from_slice(&fields.swarm);
    out.push(fields.kind as u8);
    out.extend_from_slice(&fields.round.to_le_bytes());
    out.extend_from_slice(&fields.lottery_root);
    out.push(fields.stage);
    out.extend_from_slice(&(fields.slots.len() as u16).to_le_bytes());
    for slot in &fields.slots {
        out.extend_from_slice(&slot.to_le_bytes());
    }
    out.extend_from_slice(&fields.author);
    out.extend_from_slice(&fields.sequence.to_le_bytes());
    out.extend_from_slice(&fields.created_at_ms.to_le_bytes());
    out.extend_from_slice(&fields.base);
    out.extend_from_slice(&fields.adapter);
    out.push(fields.persona.len() as u8);
    out.extend_from_slice(fields.persona.as_bytes());
    out.extend_from_slice(&fields.body_stored.to_le_bytes());
    out.extend_from_slice(&fields.body_raw.to_le_bytes());
    out.extend_from_slice(&fields.body_hash);
    out
}

/// Takes fixed pieces off the front of a slice.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }
}
