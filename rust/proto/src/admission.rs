//! Which headers are let in: a pure state machine of headers and local time.
//!
//! `Reject` is for what no honest node can have sent, and costs the neighbour that passed it on;
//! `Ignore` is for what clocks, quotas or repetition can explain.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::header::Header;
use crate::{Hash, PublicKey};

/// The most authors that one round may have here. Further ones are ignored.
const MAX_AUTHORS: usize = 16_384;
/// A stored body below this many bytes counts as this many when headers are limited, so that
/// empty bodies don't make headers free.
const LEAST_CHARGE: u64 = 512;

/// The swarm's rules, from its manifest.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The swarm's id.
    pub swarm: Hash,
    /// When round 0 starts, Unix milliseconds.
    pub genesis_ms: u64,
    /// The length of a round in milliseconds, at least 1.
    pub round_ms: u64,
    /// How many rounds back a record may be.
    pub staleness_rounds: u64,
    /// How far two honest clocks may differ, in milliseconds.
    pub clock_offset_ms: u64,
    /// The largest stored body in bytes.
    pub max_body_stored: u32,
    /// The largest body before compression in bytes.
    pub max_body_raw: u32,
    /// Stored body bytes per author and round.
    pub author_quota: u64,
}

impl Rules {
    /// The rounds that a record may belong to at `now_ms`, by any honest clock; nothing before
    /// genesis.
    #[must_use]
    pub fn rounds(&self, now_ms: u64) -> Option<std::ops::RangeInclusive<u64>> {
        let round_at = |ms: u64| Some(ms.checked_sub(self.genesis_ms)? / self.round_ms.max(1));
        let newest = round_at(now_ms.saturating_add(self.clock_offset_ms))?;
        let oldest = round_at(now_ms.saturating_sub(self.clock_offset_ms)).unwrap_or(0);
        Some(oldest.saturating_sub(self.staleness_rounds)..=newest)
    }

    fn headers_per_author(&self) -> u64 {
        (self.author_quota / LEAST_CHARGE).max(64)
    }
}

/// What to do with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Let it in and pass it on.
    Accept,
    /// Drop it; nobody is to blame.
    Ignore(Reason),
    /// Drop it and blame who sent it.
    Reject(Reason),
}

/// Why a header is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It was made for another swarm.
    #[error("it belongs to another swarm")]
    OtherSwarm,
    /// Its body is larger than the swarm allows.
    #[error("its body is larger than the swarm allows")]
    BodyTooLarge,
    /// Its round is over for longer than records stay usable, or hasn't begun.
    #[error("its round is outside the window of rounds that are taken now")]
    Round,
    /// It was made before its round began, or later than now, or too long ago.
    #[error("it was not made in the time that its round allows")]
    Time,
    /// It is here already.
    #[error("it is known already")]
    Duplicate,
    /// Its author used the sequence number for another record.
    #[error("its sequence number was used for another record")]
    Sequence,
    /// Its author has spent the round's quota.
    #[error("its author's quota for the round is spent")]
    Quota,
    /// The round has too many authors.
    #[error("the round has too many authors")]
    Full,
}

#[derive(Debug, Default)]
struct AuthorRound {
    stored: u64,
    sequences: Vec<u64>,
}

#[derive(Debug, Default)]
struct Round {
    authors: HashMap<PublicKey, AuthorRound>,
    records: HashSet<Hash>,
}

/// What was let in so far, as far as it still matters.
#[derive(Debug)]
pub struct Admission {
    rules: Rules,
    rounds: BTreeMap<u64, Round>,
    sequences: HashMap<PublicKey, HashSet<u64>>,
}

impl Admission {
    /// Nothing let in yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            rounds: BTreeMap::new(),
            sequences: HashMap::new(),
        }
    }

    /// The rules it judges by.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The verdict on a header at `now_ms` (Unix milliseconds), as if its signature were right.
    /// Changes nothing, so that a forged header costs its supposed author nothing.
    #[must_use]
    pub fn examine(&self, header: &Header, now_ms: u64) -> Verdict {
        let rules = &self.rules;
        let fields = header.fields();
        if fields.swarm != rules.swarm {
            return Verdict::Reject(Reason::OtherSwarm);
        }
        if fields.body_stored > rules.max_body_stored || fields.body_raw > rules.max_body_raw {
            return Verdict::Reject(Reason::BodyTooLarge);
        }
        if rules
            .rounds(now_ms)
            .is_none_or(|rounds| !rounds.contains(&fields.round))
        {
            return Verdict::Ignore(Reason::Round);
        }
        let opens = fields
            .round
            .saturating_mul(rules.round_ms)
            .saturating_add(rules.genesis_ms);
        let earliest = opens.saturating_sub(rules.clock_offset_ms);
        let latest = now_ms.saturating_add(rules.clock_offset_ms);
        if !(earliest..=latest).contains(&fields.created_at_ms) {
            return Verdict::Ignore(Reason::Time);
        }
        let round = self.rounds.get(&fields.round);
        if round.is_some_and(|round| round.records.contains(header.hash())) {
            return Verdict::Ignore(Reason::Duplicate);
        }
        if self
            .sequences
            .get(&fields.author)
            .is_some_and(|used| used.contains(&fields.sequence))
        {
            return Verdict::Ignore(Reason::Sequence);
        }
        let Some(round) = round else {
            return if u64::from(fields.body_stored) > rules.author_quota {
                Verdict::Ignore(Reason::Quota)
            } else {
                Verdict::Accept
            };
        };
        match round.authors.get(&fields.author) {
            None if round.authors.len() >= MAX_AUTHORS => Verdict::Ignore(Reason::Full),
            None if u64::from(fields.body_stored) > rules.author_quota => {
                Verdict::Ignore(Reason::Quota)
            }
            Some(author)
                if author.stored.saturating_add(u64::from(fields.body_stored))
                    > rules.author_quota
                    || author.sequences.len() as u64 >= rules.headers_per_author() =>
            {
                Verdict::Ignore(Reason::Quota)
            }
            _ => Verdict::Accept,
        }
    }

    /// The verdict on a header whose signature is right; if it is `Accept`, the header counts from
    /// now on.
    pub fn admit(&mut self, header: &Header, now_ms: u64) -> Verdict {
        self.forget(now_ms);
        let verdict = self.examine(header, now_ms);
        if verdict == Verdict::Accept {
            let fields = header.fields();
            let round = self.rounds.entry(fields.round).or_default();
            round.records.insert(*header.hash());
            let author = round.authors.entry(fields.author).or_default();
            author.stored += u64::from(fields.body_stored);
            author.sequences.push(fields.sequence);
            self.sequences
                .entry(fields.author)
                .or_default()
                .insert(fields.sequence);
        }
        verdict
    }

    /// Drop what belongs to rounds that are no longer taken. Replays of those fail by their round.
    fn forget(&mut self, now_ms: u64) {
        let Some(oldest) = self.rules.rounds(now_ms).map(|rounds| *rounds.start()) else {
            return;
        };
        while let Some(entry) = self.rounds.first_entry() {
            if *entry.key() >= oldest {
                break;
            }
            for (author, used) in entry.remove().authors {
                if let Some(sequences) = self.sequences.get_mut(&author) {
                    for sequence in used.sequences {
                        sequences.remove(&sequence);
                    }
                    if sequences.is_empty() {
                        self.sequences.remove(&author);
                    }
                }
            }
        }
    }
}
