//! Gossip on its way out.
//!
//! Gossipsub says `Ok` when one queue of many took a message, and remembers a message that no queue
//! took as sent. So what was refused is tried again under another name (see
//! [`wire::encode_announcement`]), and what found no subscriber waits for one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rlswarm_proto::header::Header;
use rlswarm_proto::wire;

/// The most messages in the outbox before commands are left waiting.
pub(crate) const MAX_OUTBOX: usize = 256;
/// The most messages that wait for a subscriber. Those beyond are had by asking (see `catch_up`).
const MAX_WAITING: usize = 4096;

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) header: Arc<Header>,
    pub(crate) body: Option<Bytes>,
    pub(crate) reveal: bool,
    attempt: u8,
}

impl Outgoing {
    pub(crate) fn announcement(header: Arc<Header>, body: Option<Bytes>) -> Self {
        Self {
            header,
            body,
            reveal: false,
            attempt: 0,
        }
    }

    pub(crate) fn reveal(header: Arc<Header>, body: Bytes) -> Self {
        Self {
            header,
            body: Some(body),
            reveal: true,
            attempt: 0,
        }
    }

    /// The bytes to gossip.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = self.body.as_deref();
        if self.reveal {
            wire::encode_reveal(self.attempt, self.header.hash(), body.unwrap_or_default())
        } else {
            wire::encode_announcement(self.attempt, &self.header, body)
        }
    }
}

/// Messages in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Outgoing>,
    waiting: VecDeque<Outgoing>,
}

impl Outbox {
    pub(crate) fn push(&mut self, message: Outgoing) {
        self.queue.push_back(message);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < MAX_OUTBOX
    }

    pub(crate) fn first(&self) -> Option<&Outgoing> {
        self.queue.front()
    }

    /// The first message is out, or can't be.
    pub(crate) fn done(&mut self) {
        self.queue.pop_front();
    }

    /// The first message was refused by full queues: it stays first, under another name.
    pub(crate) fn rename(&mut self) {
        if let Some(first) = self.queue.front_mut() {
            first.attempt = first.attempt.wrapping_add(1);
        }
    }

    /// Nobody listens to the first message yet.
    pub(crate) fn park(&mut self) {
        if let Some(message) = self.queue.pop_front() {
            if self.waiting.len() == MAX_WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back(message);
        }
    }

    /// Somebody listens now.
    pub(crate) fn unpark(&mut self) {
        self.waiting.append(&mut self.queue);
        std::mem::swap(&mut self.waiting, &mut self.queue);
    }
}
