//! Which peers don't read what they are sent: a pure account of refused messages.
//!
//! Gossipsub reports each second how many messages a peer's full queue refused. If all queues are
//! full, the publisher is simply fast, and waits. If only one peer's is, again and again for a
//! minute, that peer holds memory here and helps nobody.

use std::time::{Duration, Instant};

/// How long a peer may lag behind without a pause.
const PATIENCE: Duration = Duration::from_secs(60);
/// A silence of this length ends the lag.
const PAUSE: Duration = Duration::from_secs(5);
/// Refusals beyond those that all peers shared that are nobody's fault.
const SLACK: u64 = 512;

/// One peer's lag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lag {
    since: Instant,
    last: Instant,
    failed: u64,
    refused_before: u64,
}

impl Lag {
    /// The peer's queue refused `failed` messages; `refused` is the count so far of messages that
    /// every queue refused. Returns the new state, and whether the peer is to be disconnected.
    pub(crate) fn note(
        earlier: Option<Self>,
        failed: u64,
        refused: u64,
        now: Instant,
    ) -> (Self, bool) {
        let mut lag = match earlier {
            Some(lag) if now.duration_since(lag.last) <= PAUSE => lag,
            _ => Self {
                since: now,
                last: now,
                failed: 0,
                refused_before: refused,
            },
        };
        lag.last = now;
        lag.failed += failed;
        let shared = refused.saturating_sub(lag.refused_before);
        let alone = lag.failed > shared + shared / 4 + SLACK;
        (lag, alone && now.duration_since(lag.since) >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a peer is disconnected that refuses 100 messages a second, `shared` of them
    /// refused by all, reported in the seconds that `reported` names.
    fn seconds(shared: u64, reported: impl Fn(u64) -> bool) -> Option<u64> {
        let start = Instant::now();
        let (mut lag, mut refused) = (None, 0);
        for second in 0..600 {
            refused += shared;
            if reported(second) {
                let now = start + Duration::from_secs(second);
                let (next, over) = Lag::note(lag, 100, refused, now);
                if over {
                    return Some(second);
                }
                lag = Some(next);
            }
        }
        None
    }

    #[test]
    fn only_a_peer_that_lags_alone_and_without_pause_goes() {
        assert_eq!(seconds(0, |_| true), Some(60));
        assert_eq!(seconds(100, |_| true), None);
        assert_eq!(seconds(0, |second| second % 30 < 20), None);
    }
}
