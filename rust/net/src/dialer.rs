//! Addresses that are dialled for ever: when the next attempt is due, and what failed.

use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(60);
/// The most addresses kept.
pub(crate) const MAX_TARGETS: usize = 1024;

/// One address and where its attempts stand.
#[derive(Debug)]
struct Target {
    address: Multiaddr,
    peer: Option<PeerId>,
    state: State,
    delay: Duration,
    reported: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting(Instant),
    Dialling(ConnectionId),
    Connected,
}

/// All addresses that this node was told to stay connected to.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    targets: Vec<Target>,
}

impl Dialer {
    /// Keep trying an address, from now on. An address that is kept already is tried at once.
    pub(crate) fn add(&mut self, address: Multiaddr, peer: Option<PeerId>, now: Instant) {
        if let Some(target) = self.targets.iter_mut().find(|t| t.address == address) {
            if matches!(target.state, State::Waiting(_)) {
                target.state = State::Waiting(now);
            }
        } else if self.targets.len() < MAX_TARGETS {
            self.targets.push(Target {
                address,
                peer,
                state: State::Waiting(now),
                delay: FIRST_DELAY,
                reported: false,
            });
        }
    }

    /// Addresses that are due; `connected` says which peers need no dialling.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        connected: impl Fn(&PeerId) -> bool,
    ) -> Vec<(Multiaddr, Option<PeerId>)> {
        let mut out = Vec::new();
        for target in &mut self.targets {
            if let State::Waiting(at) = target.state
                && at <= now
            {
                if target.peer.as_ref().is_some_and(&connected) {
                    target.reach();
                } else {
                    out.push((target.address.clone(), target.peer));
                }
            }
        }
        out
    }

    /// An attempt was begun.
    pub(crate) fn dialling(&mut self, address: &Multiaddr, connection: ConnectionId) {
        if let Some(target) = self.targets.iter_mut().find(|t| t.address == *address) {
            target.state = State::Dialling(connection);
        }
    }

    /// A connection stands, to `peer`.
    pub(crate) fn connected(&mut self, connection: ConnectionId, peer: PeerId) {
        for target in &mut self.targets {
            if target.state == State::Dialling(connection) || target.peer == Some(peer) {
                target.peer = Some(peer);
                target.reach();
            }
        }
    }

    /// An attempt failed. Returns the address if that is to be told: once until it is reached.
    pub(crate) fn failed(&mut self, connection: ConnectionId, now: Instant) -> Option<Multiaddr> {
        let target = self
            .targets
            .iter_mut()
            .find(|t| t.state == State::Dialling(connection))?;
        target.retry(now);
        let first = !std::mem::replace(&mut target.reported, true);
        first.then(|| target.address.clone())
    }

    /// The last connection to `peer` is gone; `unwanted` if it should not be hurried back.
    pub(crate) fn lost(&mut self, peer: &PeerId, unwanted: bool, now: Instant) {
        for target in &mut self.targets {
            if target.peer.as_ref() == Some(peer) && target.state == State::Connected {
                target.delay = if unwanted { LAST_DELAY } else { FIRST_DELAY };
                target.retry(now);
            }
        }
    }
}

impl Target {
    fn reach(&mut self) {
        self.state = State::Connected;
        self.delay = FIRST_DELAY;
        self.reported = false;
    }

    // Jitter of a quarter either way keeps nodes that fell together from returning together.
    fn retry(&mut self, now: Instant) {
        let mut byte = [128];
        // Without randomness there is no jitter, and nothing worse.
        let _ = getrandom::fill(&mut byte);
        let factor = 0.75 + f64::from(byte[0]) / 512.0;
        self.state = State::Waiting(now + self.delay.mul_f64(factor));
        self.delay = (self.delay * 2).min(LAST_DELAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_for_ever_and_tells_once() {
        let mut dialer = Dialer::default();
        let mut now = Instant::now();
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        dialer.add(address.clone(), None, now);
        let mut told = 0;
        for attempt in 0..20 {
            assert_eq!(dialer.due(now, |_| false).len(), 1);
            let connection = ConnectionId::new_unchecked(attempt);
            dialer.dialling(&address, connection);
            assert!(dialer.due(now, |_| false).is_empty());
            told += usize::from(dialer.failed(connection, now).is_some());
            assert!(dialer.due(now, |_| false).is_empty());
            now += Duration::from_secs(76);
        }
        assert_eq!(told, 1);

        let peer = PeerId::random();
        let connection = ConnectionId::new_unchecked(99);
        dialer.dialling(&address, connection);
        dialer.connected(connection, peer);
        assert!(dialer.due(now, |_| false).is_empty());
        dialer.lost(&peer, false, now);
        assert_eq!(dialer.due(now + Duration::from_secs(2), |_| false).len(), 1);
    }
}
