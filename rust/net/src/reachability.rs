//! Whether others can reach this node, and how that is known: a pure state of what was observed.

use libp2p::{Multiaddr, PeerId};

use crate::address::is_global;

/// The most addresses remembered of each sort.
const MAX: usize = 16;

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has tried yet.
    Unknown,
    /// It listens on this machine alone.
    Local,
    /// Anyone can dial it.
    Public,
    /// Only through a relay.
    Relayed,
    /// Nobody can dial it; it dials out.
    Private,
}

impl Verdict {
    /// The word itself.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Local => "local",
            Self::Public => "public",
            Self::Relayed => "relayed",
            Self::Private => "private",
        }
    }
}

/// How an address is known to be reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The owner said so.
    Told,
    /// The router forwards it.
    Router,
    /// A peer dialled back.
    Tested,
    /// A peer from outside came in by itself.
    CameIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Router {
    Unasked,
    None,
    NotRoutable,
    Forwards,
}

/// What was observed so far.
#[derive(Debug)]
pub(crate) struct Reachability {
    local: bool,
    confirmed: Vec<(Multiaddr, Proof)>,
    failed: Vec<(Multiaddr, PeerId)>,
    relays: Vec<PeerId>,
    router: Router,
}

impl Reachability {
    /// `local`: it listens on loopback alone.
    pub(crate) fn new(local: bool) -> Self {
        Self {
            local,
            confirmed: Vec::new(),
            failed: Vec::new(),
            relays: Vec::new(),
            router: Router::Unasked,
        }
    }

    pub(crate) fn confirm(&mut self, address: &Multiaddr, proof: Proof) {
        self.failed.retain(|(other, _)| other != address);
        if self.confirmed.len() < MAX && !self.confirmed.iter().any(|(other, _)| other == address) {
            self.confirmed.push((address.clone(), proof));
        }
    }

    pub(crate) fn expire(&mut self, address: &Multiaddr) {
        self.confirmed.retain(|(other, _)| other != address);
    }

    pub(crate) fn fail(&mut self, address: &Multiaddr, tester: PeerId) {
        self.expire(address);
        if self.failed.len() < MAX {
            self.failed.push((address.clone(), tester));
        }
    }

    pub(crate) fn relays(&mut self, relays: Vec<PeerId>) {
        self.relays = relays;
    }

    pub(crate) fn router(&mut self, router: Router) {
        self.router = router;
    }

    /// Whether it listens on this machine alone.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    /// Whether anyone can dial it.
    pub(crate) fn is_public(&self) -> bool {
        !self.confirmed.is_empty()
    }

    /// The verdict, and a sentence with its reason and what would help.
    pub(crate) fn verdict(&self) -> (Verdict, String) {
        if let Some((address, proof)) = self.confirmed.first() {
            let how = match proof {
                Proof::Told => "as its owner says",
                Proof::Router => "the router forwards it",
                Proof::Tested => "a peer tested it",
                Proof::CameIn => "a peer from outside came in",
            };
            let text = format!("anyone can reach this node, e.g. at {address} ({how})");
            return (Verdict::Public, text);
        }
        let outside = self.failed.iter().find(|(address, _)| is_global(address));
        if !self.relays.is_empty() {
            let names: Vec<String> = self.relays.iter().map(ToString::to_string).collect();
            let text = format!(
                "others reach this node through the relay {}{}",
                names.join(" and "),
                outside.map_or_else(String::new, |(address, _)| format!(
                    "; directly at {address} they can't, so it is behind a NAT or firewall"
                ))
            );
            return (Verdict::Relayed, text);
        }
        if self.local {
            let text = "only this machine can reach this node, as it listens on loopback alone";
            return (Verdict::Local, text.to_owned());
        }
        if let Some((address, tester)) = outside {
            let router = match self.router {
                Router::None => ", and the router offers no forwarding (UPnP)",
                Router::NotRoutable => ", and the router itself has no public address",
                Router::Unasked | Router::Forwards => "",
            };
            let text = format!(
                "others can't dial this node: {tester} tried {address} in vain{router}. It dials \
                 out, which is all that taking part needs; forward its port (TCP and UDP) to help \
                 others in"
            );
            return (Verdict::Private, text);
        }
        let text = "not known: no connected peer has tested yet whether it can dial this node";
        (Verdict::Unknown, text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn says_what_is_known_and_why() {
        assert_eq!(Reachability::new(true).verdict().0, Verdict::Local);
        let mut state = Reachability::new(false);
        assert_eq!(state.verdict().0, Verdict::Unknown);
        let outside = address("/ip4/8.8.8.8/tcp/1");
        state.fail(&outside, PeerId::random());
        state.router(Router::None);
        let (verdict, text) = state.verdict();
        assert_eq!(verdict, Verdict::Private);
        assert!(text.contains("8.8.8.8") && text.contains("UPnP"), "{text}");
        let relay = PeerId::random();
        state.relays(vec![relay]);
        let (verdict, text) = state.verdict();
        assert_eq!(verdict, Verdict::Relayed);
        assert!(
            text.contains(&relay.to_string()) && text.contains("NAT"),
            "{text}"
        );
        state.confirm(&outside, Proof::Router);
        assert_eq!(state.verdict().0, Verdict::Public);
        state.expire(&outside);
        state.relays(vec![]);
        assert_eq!(state.verdict().0, Verdict::Unknown);
    }

    #[test]
    fn what_others_claim_is_bounded() {
        let mut state = Reachability::new(false);
        for port in 1..1000 {
            state.fail(
                &address(&format!("/ip4/8.8.8.8/tcp/{port}")),
                PeerId::random(),
            );
            state.confirm(&address(&format!("/ip4/9.9.9.9/tcp/{port}")), Proof::Tested);
        }
        assert!(state.failed.len() <= MAX && state.confirmed.len() <= MAX);
    }
}
