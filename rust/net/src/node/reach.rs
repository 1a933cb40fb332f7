//! Being reached: what tests, routers and relays say, and places reserved at relays.

use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, StreamProtocol, autonat, dcutr, relay, upnp};

use super::Node;
use crate::address::{is_global, is_loopback, is_relayed, with_peer};
use crate::counters::add;
use crate::events::What;
use crate::reachability::{Proof, Router};

/// Relays at which a place is kept.
const PLACES: usize = 2;
/// Relays that are remembered.
const MAX_RELAYS: usize = 16;
/// How long after a failed reservation the same relay is asked again.
const RESERVE_AGAIN: Duration = Duration::from_secs(30);

/// A connected peer that passes connections on.
#[derive(Debug)]
pub(super) struct Relay {
    address: Multiaddr,
    listener: Option<ListenerId>,
    granted: bool,
    due: Instant,
}

impl Node {
    /// Note whether `peer`, which stands at `address`, is a relay.
    pub(super) fn note_relay(
        &mut self,
        peer: PeerId,
        address: &Multiaddr,
        protocols: &[StreamProtocol],
    ) {
        let straight = self.peers.get(&peer).is_some_and(|peer| !peer.is_relayed());
        if !protocols.contains(&relay::HOP_PROTOCOL_NAME) || !straight || is_relayed(address) {
            return;
        }
        if self.relays.len() < MAX_RELAYS && !self.relays.contains_key(&peer) {
            let relay = Relay {
                address: address.clone(),
                listener: None,
                granted: false,
                due: Instant::now(),
            };
            self.relays.insert(peer, relay);
        }
        self.reserve();
    }

    /// Keep a place at a relay or two while nobody can dial this node directly.
    pub(super) fn reserve(&mut self) {
        if self.reachability.is_public() {
            for relay in self.relays.values_mut() {
                if let Some(listener) = relay.listener.take() {
                    relay.granted = false;
                    self.swarm.remove_listener(listener);
                }
            }
            return;
        }
        let now = Instant::now();
        let local = self.reachability.is_local();
        let mut places = self
            .relays
            .values()
            .filter(|r| r.listener.is_some())
            .count();
        for (peer, relay) in &mut self.relays {
            let wanted = !local || is_loopback(&relay.address);
            if places >= PLACES || !wanted || relay.listener.is_some() || relay.due > now {
                continue;
            }
            relay.due = now + RESERVE_AGAIN;
            let through = with_peer(relay.address.clone(), *peer).with(Protocol::P2pCircuit);
            if let Ok(listener) = self.swarm.listen_on(through) {
                relay.listener = Some(listener);
                places += 1;
            }
        }
    }

    pub(super) fn relay_event(&mut self, event: &relay::client::Event) {
        if let relay::client::Event::ReservationReqAccepted { relay_peer_id, .. } = event {
            if let Some(relay) = self.relays.get_mut(relay_peer_id) {
                relay.granted = true;
            }
            self.tell_reachability();
        }
    }

    pub(super) fn listener_closed(&mut self, listener: ListenerId, addresses: &[Multiaddr]) {
        for relay in self.relays.values_mut() {
            if relay.listener == Some(listener) {
                relay.listener = None;
                relay.granted = false;
            }
        }
        self.listening(|all| all.retain(|address| !addresses.contains(address)));
    }

    pub(super) fn tested(&mut self, event: &autonat::v2::client::Event) {
        match event.result {
            Ok(()) => self.reachability.confirm(&event.tested_addr, Proof::Tested),
            Err(_) => self.reachability.fail(&event.tested_addr, event.server),
        }
        self.tell_reachability();
    }

    pub(super) fn router(&mut self, event: upnp::Event) {
        match event {
            upnp::Event::NewExternalAddr { external_addr, .. } => {
                self.reachability.confirm(&external_addr, Proof::Router);
                self.reachability.router(Router::Forwards);
            }
            upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
                self.reachability.expire(&external_addr);
            }
            upnp::Event::GatewayNotFound => self.reachability.router(Router::None),
            upnp::Event::NonRoutableGateway => self.reachability.router(Router::NotRoutable),
        }
        self.tell_reachability();
    }

    pub(super) fn hole_punched(&mut self, event: &dcutr::Event) {
        let counters = &self.shared.counters;
        add(
            match event.result {
                Ok(_) => &counters.holes_punched,
                Err(_) => &counters.holes_failed,
            },
            1,
        );
    }

    /// A peer from outside that came in by itself shows that others can, unless a hole was punched
    /// for it.
    pub(super) fn came_in(&mut self, peer: &PeerId, endpoint: &ConnectedPoint) {
        let ConnectedPoint::Listener {
            local_addr,
            send_back_addr,
        } = endpoint
        else {
            return;
        };
        let by_relay = self.peers.is_connected(peer);
        if is_global(send_back_addr) && is_global(local_addr) && !by_relay {
            self.reachability.confirm(local_addr, Proof::CameIn);
            self.tell_reachability();
        }
    }

    /// The addresses it listens on have changed.
    pub(super) fn listening(&mut self, change: impl FnOnce(&mut Vec<Multiaddr>)) {
        change(&mut super::lock(&self.shared.listening));
        self.tell_reachability();
    }

    /// Say what is known, when that has changed.
    pub(super) fn tell_reachability(&mut self) {
        let granted = self.relays.iter().filter(|(_, relay)| relay.granted);
        self.reachability
            .relays(granted.map(|(peer, _)| *peer).collect());
        *super::lock(&self.shared.external) = self.swarm.external_addresses().cloned().collect();
        let (verdict, detail) = self.reachability.verdict();
        let mut shared = super::lock(&self.shared.reachability);
        let changed = shared.0 != verdict;
        *shared = (verdict, detail.clone());
        drop(shared);
        if changed {
            self.tell(What::Reachability { verdict, detail });
            self.reserve();
        }
    }
}
