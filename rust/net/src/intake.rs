//! The intake: the thread that checks what arrived, in order, in batches.
//!
//! Everything slow (signatures, hashes, decompression) happens here and not on the swarm task. The
//! order of arrival is kept, so that a reveal is judged after the header that came before it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::gossipsub::{MessageAcceptance, MessageId};
use rlswarm_proto::Hash;
use rlswarm_proto::admission::Verdict;
use rlswarm_proto::header::Header;
use rlswarm_proto::verify::verify_batch;
use rlswarm_proto::wire::{self, Announcement, Reveal};
use rlswarm_proto::{body, error::RecordError};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::now_ms;
use crate::counters::{Counters, add};
use crate::events::{Event, Queue, What};
use crate::records::Records;

/// The most jobs in one batch: beyond this, batching saves no more time.
const BATCH: usize = 64;
/// The most reveals kept for headers that are still on their way.
const MAX_EARLY: usize = 256;
/// How long such a reveal waits. Gossipsub forgets a message after a few seconds more.
const EARLY: Duration = Duration::from_secs(3);

/// How a message came.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) peer: PeerId,
    /// Set for gossip, whose fate must be reported.
    pub(crate) message: Option<MessageId>,
    pub(crate) at_ms: u64,
}

/// Something to check.
#[derive(Debug)]
pub(crate) enum Job {
    /// A gossiped announcement.
    Announcement(Bytes, Source),
    /// A gossiped reveal.
    Reveal(Bytes, Source),
    /// A record that a peer told us about when asked.
    Known(Bytes, Source),
    /// A body that was pulled from a peer.
    Fetched(Hash, Bytes, PeerId),
    /// A body that is held already and wanted now.
    Deliver(Hash),
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Report this to gossipsub.
    Judged(MessageId, PeerId, MessageAcceptance),
    /// The application has this body now.
    Arrived(Hash),
    /// What the peer gave is not the body.
    WrongBody(Hash, PeerId),
    /// The body is what its author named, and no one can use it.
    Unusable(Hash, String),
    /// A job has ended.
    Done,
}

/// The state of the intake thread.
pub(crate) struct Intake {
    pub(crate) records: Arc<Records>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) outcomes: UnboundedSender<Outcome>,
    pub(crate) max_raw: usize,
    pub(crate) early: VecDeque<(Instant, Reveal, Source)>,
}

/// A job that was read and, for headers, found worth a signature check.
enum Step {
    Header(Box<Header>, Option<Bytes>, Source),
    Reveal(Reveal, Source),
    Fetched(Hash, Bytes, PeerId),
    Deliver(Hash),
    Over(MessageAcceptance, Source),
}

impl Intake {
    /// Work until the other end is gone.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let first = match jobs.recv_timeout(Duration::from_secs(1)) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let batch: Vec<Job> = first
                .into_iter()
                .chain(std::iter::from_fn(|| jobs.try_recv().ok()))
                .take(BATCH)
                .collect();
            self.work(batch);
            self.expire_early();
        }
    }

    fn work(&mut self, batch: Vec<Job>) {
        let now = now_ms();
        let steps: Vec<Step> = batch.into_iter().map(|job| self.read(job, now)).collect();
        let headers: Vec<&Header> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Header(header, ..) => Some(header.as_ref()),
                _ => None,
            })
            .collect();
        let mut valid = verify_batch(&headers).into_iter();
        for step in steps {
            match step {
                Step::Header(header, body, source) => {
                    let acceptance = if valid.next() == Some(true) {
                        self.admit(*header, body, &source)
                    } else {
                        MessageAcceptance::Reject
                    };
                    self.judge(acceptance, source);
                }
                Step::Reveal(reveal, source) => self.reveal(reveal, source),
                Step::Fetched(hash, stored, peer) => self.fetched(&hash, &stored, peer),
                Step::Deliver(hash) => {
                    let held = self.held(&hash);
                    if let Some((header, Some(stored))) = held {
                        self.deliver_wanted(&header, &stored);
                    }
                }
                Step::Over(acceptance, source) => self.judge(acceptance, source),
            }
            self.tell(Outcome::Done);
        }
    }

    fn read(&self, job: Job, now: u64) -> Step {
        match job {
            Job::Announcement(bytes, source) => {
                self.announced(wire::decode_announcement(&bytes), source, now)
            }
            Job::Known(bytes, source) => self.announced(wire::decode_known(&bytes), source, now),
            Job::Reveal(bytes, source) => match wire::decode_reveal(&bytes) {
                Ok(reveal) => Step::Reveal(reveal, source),
                Err(_) => Step::Over(MessageAcceptance::Reject, source),
            },
            Job::Fetched(hash, stored, peer) => Step::Fetched(hash, stored, peer),
            Job::Deliver(hash) => Step::Deliver(hash),
        }
    }

    fn announced(
        &self,
        decoded: Result<Announcement, RecordError>,
        source: Source,
        now: u64,
    ) -> Step {
        let Ok(Announcement { header, body }) = decoded else {
            return Step::Over(MessageAcceptance::Reject, source);
        };
        let mut records = self.records.lock();
        match records.admission.examine(&header, now) {
            Verdict::Accept => Step::Header(Box::new(header), body, source),
            Verdict::Ignore(_) => {
                records.add_provider(header.hash(), source.peer);
                Step::Over(MessageAcceptance::Ignore, source)
            }
            Verdict::Reject(_) => Step::Over(MessageAcceptance::Reject, source),
        }
    }

    fn admit(
        &mut self,
        header: Header,
        stored: Option<Bytes>,
        source: &Source,
    ) -> MessageAcceptance {
        // A header whose inline body is wrong must not count, or a neighbour could spoil it.
        let raw = match stored
            .as_deref()
            .map(|stored| body::open_body(&header, stored, self.max_raw))
            .transpose()
        {
            Ok(raw) => raw,
            Err(_) => return MessageAcceptance::Reject,
        };
        let header = Arc::new(header);
        {
            let mut records = self.records.lock();
            match records.admission.admit(&header, now_ms()) {
                Verdict::Accept => {}
                Verdict::Ignore(_) => return MessageAcceptance::Ignore,
                Verdict::Reject(_) => return MessageAcceptance::Reject,
            }
            records.insert(Arc::clone(&header), source.peer);
            if let Some(stored) = stored {
                records.put_body(header.hash(), stored);
            }
        }
        add(&self.counters.headers_in, 1);
        self.queue.push_header(Event {
            at_ms: source.at_ms,
            what: What::Header {
                header: Arc::clone(&header),
                peer: source.peer,
            },
        });
        if let Some(raw) = raw {
            self.offer(&header, raw);
        }
        self.take_early(header.hash());
        MessageAcceptance::Accept
    }

    fn reveal(&mut self, reveal: Reveal, source: Source) {
        let Some((header, held)) = self.held(&reveal.record) else {
            if self.early.len() == MAX_EARLY
                && let Some((_, _, oldest)) = self.early.pop_front()
            {
                self.judge(MessageAcceptance::Ignore, oldest);
            }
            self.early.push_back((Instant::now(), reveal, source));
            return;
        };
        let acceptance = if held.is_some() {
            MessageAcceptance::Ignore
        } else if body::check_stored(&header, &reveal.body).is_err() {
            MessageAcceptance::Reject
        } else {
            match body::open_body(&header, &reveal.body, self.max_raw) {
                Ok(raw) => {
                    let hash = header.hash();
                    self.records.lock().put_body(hash, reveal.body);
                    self.offer(&header, raw);
                    MessageAcceptance::Accept
                }
                // Its author's fault, and of no use to anyone.
                Err(_) => MessageAcceptance::Reject,
            }
        };
        self.judge(acceptance, source);
    }

    fn take_early(&mut self, hash: &Hash) {
        while let Some(index) = self
            .early
            .iter()
            .position(|(_, reveal, _)| reveal.record == *hash)
        {
            if let Some((_, reveal, source)) = self.early.remove(index) {
                self.reveal(reveal, source);
            }
        }
    }

    fn expire_early(&mut self) {
        while self
            .early
            .front()
            .is_some_and(|(since, ..)| since.elapsed() > EARLY)
        {
            if let Some((_, _, source)) = self.early.pop_front() {
                self.judge(MessageAcceptance::Ignore, source);
            }
        }
    }

    fn fetched(&self, hash: &Hash, stored: &Bytes, peer: PeerId) {
        let Some((header, _)) = self.held(hash) else {
            self.tell(Outcome::Unusable(
                *hash,
                "its header is no longer kept".to_owned(),
            ));
            return;
        };
        if body::check_stored(&header, stored).is_err() {
            self.tell(Outcome::WrongBody(*hash, peer));
            return;
        }
        let mut records = self.records.lock();
        records.put_body(hash, stored.clone());
        records.add_provider(hash, peer);
        drop(records);
        self.deliver_wanted(&header, stored);
    }

    fn deliver_wanted(&self, header: &Arc<Header>, stored: &[u8]) {
        let hash = *header.hash();
        match body::open_body(header, stored, self.max_raw) {
            Ok(raw) => {
                self.records.lock().set_delivered(&hash, true);
                add(&self.counters.bodies_in, 1);
                self.queue.push(body_event(header, raw));
                self.tell(Outcome::Arrived(hash));
            }
            Err(error) => self.tell(Outcome::Unusable(hash, error.to_string())),
        }
    }

    /// Hand over a body that nobody asked for, if there is room; it can be fetched later if not.
    fn offer(&self, header: &Arc<Header>, raw: Vec<u8>) {
        if self.queue.offer(body_event(header, raw)) {
            add(&self.counters.bodies_in, 1);
            self.records.lock().set_delivered(header.hash(), true);
            self.tell(Outcome::Arrived(*header.hash()));
        }
    }

    fn held(&self, hash: &Hash) -> Option<(Arc<Header>, Option<Bytes>)> {
        let records = self.records.lock();
        let entry = records.get(hash)?;
        Some((Arc::clone(&entry.header), entry.body.clone()))
    }

    fn judge(&self, acceptance: MessageAcceptance, source: Source) {
        match acceptance {
            MessageAcceptance::Accept => {}
            MessageAcceptance::Ignore => add(&self.counters.ignored, 1),
            MessageAcceptance::Reject => add(&self.counters.rejected, 1),
        }
        if let Some(message) = source.message {
            self.tell(Outcome::Judged(message, source.peer, acceptance));
        }
    }

    // The swarm task is gone when the endpoint is being closed.
    fn tell(&self, outcome: Outcome) {
        let _ = self.outcomes.send(outcome);
    }
}

fn body_event(header: &Arc<Header>, body: Vec<u8>) -> Event {
    Event {
        at_ms: now_ms(),
        what: What::Body {
            header: Arc::clone(header),
            body: body.into(),
        },
    }
}
