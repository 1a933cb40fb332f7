//! What goes over the wire around records: gossip payloads, requests and responses.
//!
//! Integers are little-endian. Each decoder takes exactly one encoding, and never allocates more
//! than it was given.

use bytes::Bytes;

use crate::Hash;
use crate::error::RecordError;
use crate::header::{Header, MAX_HEADER};

/// The longest stored body that travels inside a gossip message, in bytes.
pub const MAX_INLINE: usize = 16 << 10;
/// The longest gossip message, in bytes.
pub const MAX_GOSSIP: usize = 1 + 2 + MAX_HEADER + MAX_INLINE;
/// The most bytes of a body in one response.
pub const MAX_CHUNK: usize = 256 << 10;
/// The byte before a chunk in a response.
pub const CHUNK_TAG: u8 = 1;
/// The most record hashes in one response.
pub const MAX_HASHES: usize = 4096;
/// The most headers that one request may ask for.
pub const MAX_WANTED: usize = 64;
/// The longest request, in bytes.
pub const MAX_REQUEST: usize = 1 + 32 * MAX_WANTED;
/// The longest response, in bytes.
pub const MAX_RESPONSE: usize = 5 + MAX_CHUNK + MAX_GOSSIP + 4;

const MALFORMED_GOSSIP: RecordError = RecordError::Message("gossip");
const MALFORMED_REQUEST: RecordError = RecordError::Message("request");
const MALFORMED_RESPONSE: RecordError = RecordError::Message("response");

/// Whether a body of this header travels in the announcement.
///
/// One rule for all: were it a choice, one record could be gossiped twice in two shapes.
#[must_use]
pub fn is_inline(header: &Header) -> bool {
    !header.fields().kind.commits_first() && is_small(header)
}

/// Whether a body of this header fits into a gossip message.
#[must_use]
pub fn is_small(header: &Header) -> bool {
    header.fields().body_stored as usize <= MAX_INLINE
}

/// A record made known: its header, and its stored body where [`is_inline`] says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The header; its signature is not checked yet.
    pub header: Header,
    /// The stored body; its hash is not checked yet.
    pub body: Option<Bytes>,
}

/// Write an announcement: attempt, header length (u16), header, body.
///
/// A gossip message is named by its bytes, and one that was refused because all queues were full
/// can't be published again under the same name; `attempt` gives it another one. Receivers tell
/// repetitions by the record's hash.
#[must_use]
pub fn encode_announcement(attempt: u8, header: &Header, body: Option<&[u8]>) -> Vec<u8> {
    let encoded = header.encoded();
    let body = body.unwrap_or_default();
    let mut out = Vec::with_capacity(3 + encoded.len() + body.len());
    out.push(attempt);
    #[allow(clippy::cast_possible_truncation)] // a header has at most 2048 bytes
    out.extend_from_slice(&(encoded.len() as u16).to_le_bytes());
    out.extend_from_slice(encoded);
    out.extend_from_slice(body);
    out
}

/// Read an announcement.
///
/// # Errors
/// [`RecordError`] if it is malformed, or has a body where none belongs, or none where one does.
pub fn decode_announcement(message: &Bytes) -> Result<Announcement, RecordError> {
    if message.len() > MAX_GOSSIP {
        return Err(MALFORMED_GOSSIP);
    }
    let Some((&[_, low, high], rest)) = message.split_first_chunk::<3>() else {
        return Err(MALFORMED_GOSSIP);
    };
    let len = usize::from(u16::from_le_bytes([low, high]));
    let encoded = rest.get(..len).ok_or(MALFORMED_GOSSIP)?;
    let header = Header::decode(encoded)?;
    let body = message.slice(3 + len..);
    if is_inline(&header) {
        if body.len() != header.fields().body_stored as usize {
            return Err(RecordError::StoredLength {
                got: body.len(),
                declared: header.fields().body_stored,
            });
        }
        Ok(Announcement {
            header,
            body: Some(body),
        })
    } else if body.is_empty() {
        Ok(Announcement { header, body: None })
    } else {
        Err(MALFORMED_GOSSIP)
    }
}

/// The body of a record whose header is out already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reveal {
    /// The record's name.
    pub record: Hash,
    /// The stored body; its hash is not checked yet.
    pub body: Bytes,
}

/// Write a reveal: attempt (see [`encode_announcement`]), record hash, stored body.
#[must_use]
pub fn encode_reveal(attempt: u8, record: &Hash, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(33 + body.len());
    out.push(attempt);
    out.extend_from_slice(record);
    out.extend_from_slice(body);
    out
}

/// Read a reveal.
///
/// # Errors
/// [`RecordError::Message`] if it is too short or too long.
pub fn decode_reveal(message: &Bytes) -> Result<Reveal, RecordError> {
    let Some((head, body)) = message.split_first_chunk::<33>() else {
        return Err(MALFORMED_GOSSIP);
    };
    if body.is_empty() || body.len() > MAX_INLINE {
        return Err(MALFORMED_GOSSIP);
    }
    let mut record = [0; 32];
    record.copy_from_slice(&head[1..]);
    Ok(Reveal {
        record,
        body: message.slice(33..),
    })
}

/// What one node asks another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Bytes of a stored body, from an offset.
    Body {
        /// The record's name.
        record: Hash,
        /// Where the wanted bytes start.
        offset: u32,
    },
    /// The names of the records of a round.
    Round(u64),
    /// Headers by name, with their bodies where these are small and released.
    Headers(Vec<Hash>),
}

impl Request {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Body { record, offset } => {
                let mut out = vec![1];
                out.extend_from_slice(record);
                out.extend_from_slice(&offset.to_le_bytes());
                out
            }
            Self::Round(round) => {
                let mut out = vec![2];
                out.extend_from_slice(&round.to_le_bytes());
                out
            }
            Self::Headers(records) => {
                let mut out = vec![3];
                out.extend(records.iter().flatten());
                out
            }
        }
    }

    /// Read a request.
    ///
    /// # Errors
    /// [`RecordError::Message`] for anything that [`Request::encode`] doesn't write.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (tag, rest) = bytes.split_first().ok_or(MALFORMED_REQUEST)?;
        match tag {
            1 => {
                let (record, offset) = rest.split_first_chunk::<32>().ok_or(MALFORMED_REQUEST)?;
                Ok(Self::Body {
                    record: *record,
                    offset: u32::from_le_bytes(offset.try_into().map_err(|_| MALFORMED_REQUEST)?),
                })
            }
            2 => Ok(Self::Round(u64::from_le_bytes(
                rest.try_into().map_err(|_| MALFORMED_REQUEST)?,
            ))),
            3 => hashes(rest, MAX_WANTED)
                .map(Self::Headers)
                .ok_or(MALFORMED_REQUEST),
            _ => Err(MALFORMED_REQUEST),
        }
    }
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Bytes of the stored body from the offset asked for, at most [`MAX_CHUNK`].
    Chunk(Bytes),
    /// Too much to do; ask again later, or somebody else.
    Busy,
    /// No such body here.
    Unknown,
    /// The body is here and not revealed yet.
    Sealed,
    /// Names of records.
    Hashes(Vec<Hash>),
    /// Headers with their small released bodies, each written by [`encode_known`].
    Records(Vec<Bytes>),
}

impl Response {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Chunk(chunk) => {
                let mut out = Vec::with_capacity(1 + chunk.len());
                out.push(CHUNK_TAG);
                out.extend_from_slice(chunk);
                out
            }
            Self::Busy => vec![2],
            Self::Unknown => vec![3],
            Self::Sealed => vec![4],
            Self::Hashes(records) => {
                let mut out = Vec::with_capacity(1 + 32 * records.len());
                out.push(5);
                out.extend(records.iter().flatten());
                out
            }
            Self::Records(records) => {
                let mut out = vec![6];
                for record in records {
                    #[allow(clippy::cast_possible_truncation)] // at most MAX_GOSSIP each
                    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
                    out.extend_from_slice(record);
                }
                out
            }
        }
    }

    /// Read a response.
    ///
    /// # Errors
    /// [`RecordError::Message`] for anything that [`Response::encode`] doesn't write.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let tag = *bytes.first().ok_or(MALFORMED_RESPONSE)?;
        let rest = bytes.slice(1..);
        match tag {
            CHUNK_TAG if rest.len() <= MAX_CHUNK => Ok(Self::Chunk(rest)),
            2 if rest.is_empty() => Ok(Self::Busy),
            3 if rest.is_empty() => Ok(Self::Unknown),
            4 if rest.is_empty() => Ok(Self::Sealed),
            5 => hashes(&rest, MAX_HASHES)
                .map(Self::Hashes)
                .ok_or(MALFORMED_RESPONSE),
            6 => split(rest).map(Self::Records).ok_or(MALFORMED_RESPONSE),
            _ => Err(MALFORMED_RESPONSE),
        }
    }
}

fn hashes(bytes: &[u8], max: usize) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() <= max).then(|| hashes.to_vec())
}

fn split(mut rest: Bytes) -> Option<Vec<Bytes>> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (len, _) = rest.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len) as usize;
        if len > MAX_GOSSIP || rest.len() - 4 < len || records.len() == MAX_WANTED {
            return None;
        }
        records.push(rest.slice(4..4 + len));
        rest = rest.slice(4 + len..);
    }
    Some(records)
}

/// A header and its body where that is small and released, for [`Response::Records`]: laid out like
/// an announcement, but a revealed body may stand where an announcement has none.
#[must_use]
pub fn encode_known(header: &Header, body: Option<&[u8]>) -> Bytes {
    encode_announcement(0, header, body).into()
}

/// Read what [`encode_known`] wrote.
///
/// # Errors
/// [`RecordError`] if it is malformed, or the body has another length than the header says.
pub fn decode_known(bytes: &Bytes) -> Result<Announcement, RecordError> {
    let Some((&[_, low, high], rest)) = bytes.split_first_chunk::<3>() else {
        return Err(MALFORMED_RESPONSE);
    };
    let len = usize::from(u16::from_le_bytes([low, high]));
    let header = Header::decode(rest.get(..len).ok_or(MALFORMED_RESPONSE)?)?;
    let body = bytes.slice(3 + len..);
    if body.is_empty() {
        return Ok(Announcement { header, body: None });
    }
    if !is_small(&header) || body.len() != header.fields().body_stored as usize {
        return Err(MALFORMED_RESPONSE);
    }
    Ok(Announcement {
        header,
        body: Some(body),
    })
}
