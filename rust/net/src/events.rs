//! The one queue out of the endpoint, and the thread that says when it fills.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use libp2p::PeerId;
use rlswarm_proto::header::Header;

use crate::reachability::Verdict;

/// The most events of one sort (headers; all else) that wait.
const MAX_EVENTS: usize = 65_536;
/// The most bytes of bodies that wait before those that nobody asked for are dropped.
const MAX_BYTES: usize = 64 << 20;

/// Something that happened.
#[derive(Debug)]
pub struct Event {
    /// Arrival by the local clock, Unix milliseconds.
    pub at_ms: u64,
    /// What it was.
    pub what: What,
}

/// The sorts of event.
#[derive(Debug)]
pub enum What {
    /// A new verified header.
    Header {
        /// The header.
        header: Arc<Header>,
        /// Who passed it on.
        peer: PeerId,
    },
    /// A verified body, decompressed.
    Body {
        /// Its header.
        header: Arc<Header>,
        /// The body before compression.
        body: Bytes,
    },
    /// A fetch gave up.
    FetchFailed {
        /// Whose body was wanted.
        header: Arc<Header>,
        /// Why it didn't come.
        detail: String,
    },
    /// A peer of this swarm is here.
    PeerJoined {
        /// The peer.
        peer: PeerId,
        /// Where it is reached.
        address: String,
    },
    /// A peer of this swarm left.
    PeerLeft {
        /// The peer.
        peer: PeerId,
        /// Where it was reached.
        address: String,
    },
    /// A peer of another swarm was met and left alone.
    OtherSwarm {
        /// The peer.
        peer: PeerId,
        /// Where, and what it speaks.
        detail: String,
    },
    /// An address can't be reached for now.
    Unreachable {
        /// The address and the cause.
        detail: String,
    },
    /// It became known, or changed, whether others can reach this node.
    Reachability {
        /// In one word.
        verdict: Verdict,
        /// In a sentence, with the reason.
        detail: String,
    },
}

impl What {
    fn bytes(&self) -> usize {
        match self {
            Self::Body { body, .. } => body.len(),
            _ => 0,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    // Two queues with one numbering, so that the oldest header can be dropped at once.
    headers: VecDeque<(u64, Event)>,
    others: VecDeque<(u64, Event)>,
    numbered: u64,
    bytes: usize,
    dropped: u64,
    armed: bool,
    closed: bool,
}

/// A bounded queue of events.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

impl Queue {
    /// An empty queue whose first event wakes.
    pub(crate) fn new() -> Self {
        let queue = Self::default();
        queue.lock().armed = true;
        queue
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Add a header; the oldest one goes if there are too many.
    pub(crate) fn push_header(&self, event: Event) {
        let mut state = self.lock();
        let number = state.next();
        state.headers.push_back((number, event));
        if state.headers.len() > MAX_EVENTS {
            state.headers.pop_front();
            state.dropped += 1;
        }
        self.notify(&state);
    }

    /// Add an event that must arrive: somebody waits for it.
    pub(crate) fn push(&self, event: Event) {
        let mut state = self.lock();
        let number = state.next();
        state.bytes += event.what.bytes();
        state.others.push_back((number, event));
        self.notify(&state);
    }

    /// Add an event that nobody waits for, unless the queue is full. Returns whether it was added.
    pub(crate) fn offer(&self, event: Event) -> bool {
        let mut state = self.lock();
        if state.others.len() >= MAX_EVENTS || state.bytes + event.what.bytes() > MAX_BYTES {
            state.dropped += 1;
            return false;
        }
        let number = state.next();
        state.bytes += event.what.bytes();
        state.others.push_back((number, event));
        self.notify(&state);
        true
    }

    /// Whether so much waits that no further bodies should be fetched.
    pub(crate) fn is_crowded(&self) -> bool {
        self.lock().bytes > MAX_BYTES / 2
    }

    /// Take events in order of arrival: at least one if there is any, else as many as fit.
    pub(crate) fn drain(&self, max_items: usize, max_bytes: usize) -> Vec<Event> {
        let mut state = self.lock();
        let mut out = Vec::new();
        let mut taken = 0_usize;
        while out.len() < max_items.max(1) {
            let header = state.headers.front().map(|(number, _)| *number);
            let other = state.others.front();
            let other_number = other.map(|(number, _)| *number);
            let take_header = match (header, other_number) {
                (None, None) => break,
                (Some(header), Some(other)) => header < other,
                (header, None) => header.is_some(),
                (None, Some(_)) => false,
            };
            let bytes = match other {
                Some((_, event)) if !take_header => event.what.bytes(),
                _ => 0,
            };
            if !out.is_empty() && taken + bytes > max_bytes {
                break;
            }
            let next = if take_header {
                state.headers.pop_front()
            } else {
                state.others.pop_front()
            };
            taken += bytes;
            out.extend(next.map(|(_, event)| event));
        }
        state.bytes -= taken;
        state.armed = true;
        self.notify(&state);
        out
    }

    /// Events that wait.
    pub(crate) fn len(&self) -> usize {
        let state = self.lock();
        state.headers.len() + state.others.len()
    }

    /// Events dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// End the wake thread.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Call `wake` each time that the queue holds something new since it was last drained, until
    /// it is closed. Blocks: it is the body of the wake thread.
    pub(crate) fn wake_loop(&self, wake: impl Fn()) {
        loop {
            let mut state = self.lock();
            while !(state.closed || state.armed && state.has_events()) {
                state = self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            state.armed = false;
            drop(state);
            wake();
        }
    }

    fn notify(&self, state: &State) {
        if state.armed && state.has_events() {
            self.filled.notify_one();
        }
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    fn has_events(&self) -> bool {
        !(self.headers.is_empty() && self.others.is_empty())
    }
}
