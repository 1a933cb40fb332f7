//! Requests of other nodes and of this one: bodies, and what a round holds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use libp2p::request_response::{self, OutboundRequestId};
use libp2p::{PeerId, identity};
use rlswarm_proto::Hash;
use rlswarm_proto::header::Header;
use rlswarm_proto::wire::{Request, Response};

use super::{ENOUGH_PEERS, MAX_PULLS, Node, Purpose};
use crate::clock::now_ms;
use crate::events::{Event, What};
use crate::fetch::{Fetch, Next};
use crate::intake::{Job, Source};
use crate::peers::Peer;
use crate::serve::{self, MAX_SERVING};

impl Node {
    pub(super) fn fetch(&mut self, header: Arc<Header>, deadline: Instant) {
        let hash = *header.hash();
        let held = {
            let records = self.shared.records.lock();
            match records.get(&hash) {
                Some(entry) if entry.delivered => return,
                Some(entry) => entry.body.is_some(),
                None => false,
            }
        };
        let now = Instant::now();
        let fetch = self
            .fetches
            .entry(hash)
            .or_insert_with(|| Fetch::new(header, deadline, now));
        fetch.deadline = fetch.deadline.max(deadline);
        if held {
            self.submit(Job::Deliver(hash));
        } else {
            self.start_fetches();
        }
    }

    pub(super) fn start_fetches(&mut self) {
        let now = Instant::now();
        let active = self.fetches.values().filter(|f| f.is_active()).count();
        if active >= MAX_PULLS || self.fetches.is_empty() || self.shared.queue.is_crowded() {
            return;
        }
        let idle: Vec<Hash> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| fetch.is_idle(now))
            .map(|(hash, _)| *hash)
            .take(MAX_PULLS - active)
            .collect();
        for hash in idle {
            self.call_author(&hash, now);
            let candidates = self.candidates(&hash);
            if let Some(fetch) = self.fetches.get_mut(&hash) {
                let next = fetch.start(candidates, now);
                self.pursue(hash, next);
            }
        }
    }

    /// Dial the author of a wanted body, if it isn't connected and it is known where it is.
    fn call_author(&mut self, hash: &Hash, now: Instant) {
        let author = self
            .fetches
            .get(hash)
            .and_then(|fetch| author_id(&fetch.header));
        if let Some(author) = author.filter(|author| !self.peers.is_connected(author))
            && let Some(addresses) = self.book.take(&author, now)
        {
            self.dial(author, addresses);
        }
    }

    /// Who may have a body, the likeliest first: its author, those who passed the header on, others.
    /// Whoever is reached through a relay comes last.
    fn candidates(&self, hash: &Hash) -> Vec<PeerId> {
        let mut out: Vec<PeerId> = Vec::new();
        {
            let records = self.shared.records.lock();
            if let Some(entry) = records.get(hash) {
                out.extend(author_id(&entry.header));
                out.extend(entry.providers.iter());
            }
        }
        // Each body starts at another peer, so that one peer isn't asked for all.
        let mut others: Vec<PeerId> = self.peers.members().collect();
        let len = others.len().max(1);
        others.rotate_left(usize::from(hash[0]) % len);
        out.extend(others.into_iter().take(ENOUGH_PEERS));
        let mut seen = HashSet::new();
        out.retain(|peer| self.peers.is_member(peer) && seen.insert(*peer));
        out.sort_by_key(|peer| self.peers.get(peer).is_some_and(Peer::is_relayed));
        out
    }

    pub(super) fn pursue(&mut self, hash: Hash, next: Next) {
        match next {
            Next::Wait => {}
            Next::Ask(peer, offsets) => {
                for offset in offsets {
                    let request = Request::Body {
                        record: hash,
                        offset,
                    };
                    self.ask(&peer, request, Purpose::Chunk(hash, offset));
                }
            }
            Next::Check(peer, body) => self.submit(Job::Fetched(hash, body, peer)),
        }
    }

    pub(super) fn fetch_failed(&self, fetch: Fetch, detail: String) {
        self.shared.queue.push(Event {
            at_ms: now_ms(),
            what: What::FetchFailed {
                header: fetch.header,
                detail,
            },
        });
    }

    fn ask(&mut self, peer: &PeerId, request: Request, purpose: Purpose) {
        let id = self.swarm.behaviour_mut().pull.send_request(peer, request);
        self.requests.insert(id, purpose);
    }

    pub(super) fn ask_rounds(&mut self, peer: PeerId) {
        let Some(rounds) = self.rules.rounds(now_ms()) else {
            return;
        };
        let newest = *rounds.end();
        for round in newest.saturating_sub(1)..=newest {
            self.ask(&peer, Request::Round(round), Purpose::CatchUp);
        }
    }

    fn ask_headers(&mut self, peer: PeerId) {
        let wanted = {
            let records = self.shared.records.lock();
            self.catch_up
                .next(&peer, |hash| records.get(hash).is_some())
        };
        if !wanted.is_empty() {
            self.ask(&peer, Request::Headers(wanted), Purpose::CatchUp);
        }
    }

    pub(super) fn request_event(&mut self, event: request_response::Event<Request, Response>) {
        match event {
            request_response::Event::Message {
                peer,
                message:
                    request_response::Message::Request {
                        request_id,
                        request,
                        channel,
                    },
                ..
            } => {
                let response = if self.serving.len() >= MAX_SERVING {
                    Response::Busy
                } else {
                    serve::answer(&self.shared.records, &request)
                };
                let sent = self
                    .swarm
                    .behaviour_mut()
                    .pull
                    .send_response(channel, response);
                if sent.is_ok() && self.peers.is_connected(&peer) {
                    self.serving.insert(request_id);
                }
            }
            request_response::Event::Message {
                peer,
                message:
                    request_response::Message::Response {
                        request_id,
                        response,
                    },
                ..
            } => self.answered(peer, request_id, response),
            request_response::Event::OutboundFailure {
                peer, request_id, ..
            } => match self.requests.remove(&request_id) {
                Some(Purpose::Chunk(hash, _)) => self.refused(hash, peer, "doesn't answer"),
                Some(Purpose::CatchUp) => self.catch_up.forget(&peer),
                None => {}
            },
            request_response::Event::InboundFailure { request_id, .. }
            | request_response::Event::ResponseSent { request_id, .. } => {
                self.serving.remove(&request_id);
            }
        }
    }

    fn answered(&mut self, peer: PeerId, id: OutboundRequestId, response: Response) {
        match (self.requests.remove(&id), response) {
            (Some(Purpose::Chunk(hash, offset)), Response::Chunk(bytes)) => {
                if let Some(fetch) = self.fetches.get_mut(&hash) {
                    let next = fetch.chunk(peer, offset, bytes, Instant::now());
                    self.pursue(hash, next);
                }
            }
            (Some(Purpose::Chunk(hash, _)), response) => {
                let why = match response {
                    Response::Busy => "is busy",
                    Response::Sealed => "hasn't revealed it yet",
                    Response::Unknown => "doesn't have it",
                    _ => "gave something else",
                };
                self.refused(hash, peer, why);
            }
            (Some(Purpose::CatchUp), Response::Hashes(hashes)) => {
                let missing: Vec<Hash> = {
                    let records = self.shared.records.lock();
                    hashes
                        .into_iter()
                        .filter(|hash| records.get(hash).is_none())
                        .collect()
                };
                self.catch_up.add(peer, missing.into_iter());
                self.ask_headers(peer);
            }
            (Some(Purpose::CatchUp), Response::Records(known)) => {
                let at_ms = now_ms();
                for bytes in known {
                    let source = Source {
                        peer,
                        message: None,
                        at_ms,
                    };
                    self.submit(Job::Known(bytes, source));
                }
                self.ask_headers(peer);
            }
            _ => {}
        }
    }

    fn refused(&mut self, hash: Hash, peer: PeerId, why: &str) {
        if let Some(fetch) = self.fetches.get_mut(&hash) {
            let next = fetch.refused(peer, why, Instant::now());
            self.pursue(hash, next);
        }
    }
}

fn author_id(header: &Header) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&header.fields().author).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}
