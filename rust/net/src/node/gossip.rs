//! Messages in and out of gossipsub, and what the intake makes of them.

use std::time::Instant;

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::gossipsub::{self, FailedMessages, PublishError};

use super::{FULL_PAUSE, Node};
use crate::clock::now_ms;
use crate::counters::{add, read};
use crate::intake::{Job, Outcome, Source};
use crate::outbox::Outgoing;
use crate::slow::Lag;

impl Node {
    /// Hand the outbox to gossipsub.
    pub(super) fn flush(&mut self) {
        while self.full_until.is_none()
            && let Some(message) = self.outbox.first()
        {
            if !self.is_current(message) {
                self.outbox.done();
                continue;
            }
            let topic = if message.reveal {
                &self.names.reveals
            } else {
                &self.names.records
            };
            let bytes = message.encode();
            match self
                .swarm
                .behaviour_mut()
                .gossip
                .publish(topic.hash(), bytes)
            {
                Err(PublishError::NoPeersSubscribedToTopic) => self.outbox.park(),
                Err(PublishError::AllQueuesFull(_)) => {
                    add(&self.shared.counters.refused, 1);
                    self.outbox.rename();
                    self.full_until = Some(tokio::time::Instant::now() + FULL_PAUSE);
                }
                // No other error can come for messages of our making.
                Ok(_) | Err(_) => self.outbox.done(),
            }
        }
    }

    fn is_current(&self, message: &Outgoing) -> bool {
        self.rules
            .rounds(now_ms())
            .is_some_and(|rounds| rounds.contains(&message.header.fields().round))
    }

    pub(super) fn submit(&mut self, job: Job) {
        if self.jobs.try_send(job).is_ok() {
            self.in_flight += 1;
        } else {
            add(&self.shared.counters.ignored, 1);
        }
    }

    pub(super) fn outcome(&mut self, outcome: Outcome) {
        let now = Instant::now();
        match outcome {
            Outcome::Done => self.in_flight -= 1,
            Outcome::Judged(message, peer, acceptance) => {
                self.swarm
                    .behaviour_mut()
                    .gossip
                    .report_message_validation_result(&message, &peer, acceptance);
            }
            Outcome::Arrived(hash) => {
                self.fetches.remove(&hash);
                self.start_fetches();
            }
            Outcome::WrongBody(hash, peer) => {
                add(&self.shared.counters.rejected, 1);
                if let Some(fetch) = self.fetches.get_mut(&hash) {
                    let next = fetch.wrong(peer, now);
                    self.pursue(hash, next);
                }
            }
            Outcome::Unusable(hash, why) => {
                if let Some(fetch) = self.fetches.remove(&hash) {
                    self.fetch_failed(fetch, why);
                }
            }
        }
    }

    pub(super) fn gossip_event(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                let source = Source {
                    peer: propagation_source,
                    message: Some(message_id),
                    at_ms: now_ms(),
                };
                let bytes = Bytes::from(message.data);
                self.submit(if message.topic == self.records_topic {
                    Job::Announcement(bytes, source)
                } else {
                    Job::Reveal(bytes, source)
                });
            }
            gossipsub::Event::Subscribed { .. } => self.outbox.unpark(),
            gossipsub::Event::SlowPeer {
                peer_id,
                failed_messages,
            } => self.slow(peer_id, &failed_messages),
            _ => {}
        }
    }

    fn slow(&mut self, peer: PeerId, messages: &FailedMessages) {
        let failed = (messages.priority + messages.non_priority) as u64;
        add(&self.shared.counters.unsent, failed);
        let refused = read(&self.shared.counters.refused);
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        let (lag, over) = Lag::note(known.lag, failed, refused, Instant::now());
        known.lag = Some(lag);
        if over {
            self.drop_peer(peer);
        }
    }
}
