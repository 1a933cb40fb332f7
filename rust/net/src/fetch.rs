//! Pulling a body in chunks from one peer after another until it is here or time is up.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::PeerId;
use rlswarm_proto::header::Header;
use rlswarm_proto::wire::MAX_CHUNK;

/// Chunks asked for at a time.
const PIPELINE: usize = 4;
/// How long to wait when nobody had the body, before asking all again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What to do next about a fetch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask `peer` for the chunk at each of these offsets.
    Ask(PeerId, Vec<u32>),
    /// The body is complete and must be checked.
    Check(PeerId, Bytes),
    /// Nothing for now.
    Wait,
}

/// One body on its way.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// Whose body it is.
    pub(crate) header: Arc<Header>,
    /// When to give up.
    pub(crate) deadline: Instant,
    /// What the last peer said.
    pub(crate) last: String,
    candidates: VecDeque<PeerId>,
    liars: HashSet<PeerId>,
    pull: Option<Pull>,
    checking: bool,
    retry_at: Instant,
    pause: Duration,
}

/// Chunks from one peer. One peer at a time, so that it is clear who gave a wrong body.
#[derive(Debug)]
struct Pull {
    peer: PeerId,
    next: usize,
    asked: HashSet<u32>,
    chunks: BTreeMap<u32, Bytes>,
}

impl Fetch {
    pub(crate) fn new(header: Arc<Header>, deadline: Instant, now: Instant) -> Self {
        Self {
            header,
            deadline,
            last: "no peer is connected".to_owned(),
            candidates: VecDeque::new(),
            liars: HashSet::new(),
            pull: None,
            checking: false,
            retry_at: now,
            pause: PAUSE,
        }
    }

    /// Whether it is time to call [`Fetch::start`] with fresh candidates.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.pull.is_none() && self.retry_at <= now
    }

    /// Whether a peer is being asked now.
    pub(crate) fn is_active(&self) -> bool {
        self.pull.is_some()
    }

    /// Whether time is up. A body that is here already is still checked.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.deadline <= now && !self.checking
    }

    /// Begin with the first of `candidates`, the likeliest first.
    pub(crate) fn start(&mut self, candidates: Vec<PeerId>, now: Instant) -> Next {
        self.candidates = candidates
            .into_iter()
            .filter(|peer| !self.liars.contains(peer))
            .collect();
        self.next_peer(now)
    }

    /// A chunk came from `peer`.
    pub(crate) fn chunk(&mut self, peer: PeerId, offset: u32, bytes: Bytes, now: Instant) -> Next {
        let len = self.header.fields().body_stored as usize;
        let Some(pull) = self.pull.as_mut().filter(|pull| pull.peer == peer) else {
            return Next::Wait;
        };
        if !pull.asked.remove(&offset) {
            return Next::Wait;
        }
        if bytes.len() != chunk_len(len, offset as usize) {
            return self.wrong(peer, now);
        }
        pull.chunks.insert(offset, bytes);
        if pull.asked.is_empty() && pull.next >= len {
            let chunks = std::mem::take(&mut pull.chunks);
            let body = if chunks.len() == 1 {
                chunks.into_values().next().unwrap_or_default()
            } else {
                let mut body = Vec::with_capacity(len);
                for chunk in chunks.values() {
                    body.extend_from_slice(chunk);
                }
                body.into()
            };
            self.checking = true;
            return Next::Check(peer, body);
        }
        let offsets = pull.more(len, 1);
        if offsets.is_empty() {
            Next::Wait
        } else {
            Next::Ask(peer, offsets)
        }
    }

    /// `peer` doesn't give it, for the reason `why`.
    pub(crate) fn refused(&mut self, peer: PeerId, why: &str, now: Instant) -> Next {
        if self.pull.as_ref().is_none_or(|pull| pull.peer != peer) {
            return Next::Wait;
        }
        self.last = format!("{peer} {why}");
        self.next_peer(now)
    }

    /// What `peer` gave is wrong: it is not asked again.
    pub(crate) fn wrong(&mut self, peer: PeerId, now: Instant) -> Next {
        self.checking = false;
        self.liars.insert(peer);
        self.refused(peer, "gave something else", now)
    }

    fn next_peer(&mut self, now: Instant) -> Next {
        let Some(peer) = self.candidates.pop_front() else {
            self.pull = None;
            self.retry_at = now + self.pause;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return Next::Wait;
        };
        let mut pull = Pull {
            peer,
            next: 0,
            asked: HashSet::new(),
            chunks: BTreeMap::new(),
        };
        let offsets = pull.more(self.header.fields().body_stored as usize, PIPELINE);
        self.pull = Some(pull);
        Next::Ask(peer, offsets)
    }
}

impl Pull {
    #[allow(clippy::cast_possible_truncation)] // a stored body is shorter than 4 GiB
    fn more(&mut self, len: usize, count: usize) -> Vec<u32> {
        let mut out = Vec::new();
        // An empty body is one empty chunk.
        while out.len() < count && (self.next < len || self.next == 0) {
            out.push(self.next as u32);
            self.asked.insert(self.next as u32);
            self.next += MAX_CHUNK;
        }
        out
    }
}

fn chunk_len(len: usize, offset: usize) -> usize {
    len.saturating_sub(offset).min(MAX_CHUNK)
}
