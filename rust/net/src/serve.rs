//! Answers to what other nodes ask.

use rlswarm_proto::Hash;
use rlswarm_proto::store::Access;
use rlswarm_proto::wire::{self, MAX_CHUNK, MAX_WANTED, Request, Response};

use crate::records::{Records, Shelves};

/// The most answers on their way at a time; beyond them the answer is "busy".
pub(crate) const MAX_SERVING: usize = 128;

/// Answer a request from what is held.
pub(crate) fn answer(records: &Records, request: &Request) -> Response {
    let shelves = records.lock();
    match request {
        Request::Body { record, offset } => chunk(&shelves, record, *offset as usize),
        Request::Round(round) => Response::Hashes(shelves.round(*round)),
        Request::Headers(wanted) => known(&shelves, wanted),
    }
}

fn chunk(shelves: &Shelves, record: &Hash, offset: usize) -> Response {
    match shelves.access(record) {
        Access::Open(body) if offset <= body.len() => {
            let end = body.len().min(offset + MAX_CHUNK);
            Response::Chunk(body.slice(offset..end))
        }
        Access::Open(_) | Access::Unknown => Response::Unknown,
        Access::Sealed => Response::Sealed,
    }
}

// What doesn't fit is asked for again by those who miss it.
fn known(shelves: &Shelves, wanted: &[Hash]) -> Response {
    let mut room = MAX_CHUNK;
    let mut out = Vec::new();
    for hash in wanted.iter().take(MAX_WANTED) {
        let Some(entry) = shelves.get(hash) else {
            continue;
        };
        let body = entry
            .body
            .as_deref()
            .filter(|_| entry.released && wire::is_small(&entry.header));
        let bytes = wire::encode_known(&entry.header, body);
        if bytes.len() > room {
            break;
        }
        room -= bytes.len();
        out.push(bytes);
    }
    Response::Records(out)
}
