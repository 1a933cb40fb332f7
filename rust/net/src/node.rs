//! The task that owns the swarm. Nothing here blocks or computes for long.

mod discovery;
mod gossip;
mod pull;
mod reach;

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use libp2p::gossipsub::TopicHash;
use libp2p::request_response::{InboundRequestId, OutboundRequestId};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, identify, kad, ping};
use rlswarm_proto::Hash;
use rlswarm_proto::admission::Rules;
use rlswarm_proto::header::Header;
use tokio::sync::{mpsc, oneshot};

use crate::address::{is_loopback, is_relayed};
use crate::behaviour::{Behaviour, BehaviourEvent, Names};
use crate::book::{Book, Word};
use crate::catch_up::CatchUp;
use crate::clock::now_ms;
use crate::counters::Counters;
use crate::dialer::Dialer;
use crate::events::{Event, Queue, What};
use crate::fetch::Fetch;
use crate::intake::{Job, Outcome};
use crate::outbox::{Outbox, Outgoing};
use crate::peers::{Link, Peers};
use crate::reachability::{Proof, Reachability, Verdict};
use crate::records::Records;

/// Jobs in the intake beyond which nothing more is read from the network: back-pressure instead of
/// loss.
pub(crate) const MAX_IN_FLIGHT: usize = 4096;
/// Connections to members beyond which none are sought.
const ENOUGH_PEERS: usize = 16;
/// Bodies pulled at a time.
const MAX_PULLS: usize = 8;
/// Timers are looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// How long to wait when all queues are full.
const FULL_PAUSE: Duration = Duration::from_millis(2);
/// How often a random peer is asked what it has.
const CATCH_UP_EVERY: Duration = Duration::from_secs(10);
/// The second look at a new peer's records, for what was gossiped while it subscribed.
const CATCH_UP_AGAIN: Duration = Duration::from_secs(2);
/// The first look for further peers after one joined.
const WALK_SOON: Duration = Duration::from_millis(300);
const WALK_LEAST: Duration = Duration::from_secs(1);
const WALK_MOST: Duration = Duration::from_secs(60);
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);
/// The most peers whose standing is kept. The application sets it, from what others' ledgers say.
const MAX_STANDINGS: usize = 16_384;
/// Pings in a row without an answer after which a peer is as good as gone.
const MAX_UNANSWERED: u8 = 3;
/// Peers that are handed out as met.
const MAX_MET: usize = 100;
/// How often the list of peers met is renewed.
const MET_EVERY: Duration = Duration::from_secs(1);

/// What the endpoint tells the task.
#[derive(Debug)]
pub(crate) enum Command {
    Announce(Arc<Header>, Option<Bytes>),
    Reveal(Arc<Header>, Bytes),
    Fetch(Arc<Header>, Instant),
    Dial(Multiaddr, Option<PeerId>),
    Learn(PeerId, Vec<Multiaddr>),
    SetStanding(PeerId, f64),
    Block(PeerId),
    Unblock(PeerId),
}

/// What the task shares with the endpoint and the intake.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) records: Arc<Records>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) links: Mutex<Vec<Link>>,
    pub(crate) listening: Mutex<Vec<Multiaddr>>,
    pub(crate) external: Mutex<Vec<Multiaddr>>,
    pub(crate) reachability: Mutex<(Verdict, String)>,
    /// Addresses of peers met, with when that was last (Unix milliseconds).
    pub(crate) met: Mutex<Vec<(Vec<Multiaddr>, u64)>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the task is started with, beside the swarm.
pub(crate) struct Setup {
    pub(crate) names: Names,
    pub(crate) rules: Rules,
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: SyncSender<Job>,
    /// Peers met in an earlier run, the best first.
    pub(crate) known: Vec<(PeerId, Multiaddr)>,
    /// Where anyone can reach this node, as its owner says.
    pub(crate) public: Vec<Multiaddr>,
    /// Whether the swarm has a key.
    pub(crate) private: bool,
    /// Whether this node passes connections on.
    pub(crate) relay: bool,
    /// Whether it listens on loopback alone.
    pub(crate) local: bool,
}

/// Ways in.
pub(crate) struct Inputs {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) outcomes: mpsc::UnboundedReceiver<Outcome>,
    pub(crate) closing: oneshot::Receiver<()>,
}

/// What an outgoing request was for.
#[derive(Debug)]
enum Purpose {
    Chunk(Hash, u32),
    CatchUp,
}

/// The state of the task.
pub(crate) struct Node {
    swarm: Swarm<Behaviour>,
    names: Names,
    records_topic: TopicHash,
    rules: Rules,
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    in_flight: usize,
    outbox: Outbox,
    full_until: Option<tokio::time::Instant>,
    dialer: Dialer,
    peers: Peers,
    fetches: HashMap<Hash, Fetch>,
    requests: HashMap<OutboundRequestId, Purpose>,
    serving: HashSet<InboundRequestId>,
    catch_up: CatchUp,
    catch_up_at: Instant,
    turn: usize,
    walk_at: Option<Instant>,
    walk_pause: Duration,
    book: Book,
    met_at: Instant,
    reachability: Reachability,
    relays: HashMap<PeerId, reach::Relay>,
    standings: HashMap<PeerId, f64>,
    private: bool,
    tells_listen_addresses: bool,
}

impl Node {
    pub(crate) fn new(swarm: Swarm<Behaviour>, setup: Setup) -> Self {
        let now = Instant::now();
        let mut node = Self {
            swarm,
            records_topic: setup.names.records.hash(),
            names: setup.names,
            rules: setup.rules,
            shared: setup.shared,
            jobs: setup.jobs,
            in_flight: 0,
            outbox: Outbox::default(),
            full_until: None,
            dialer: Dialer::default(),
            peers: Peers::default(),
            fetches: HashMap::new(),
            requests: HashMap::new(),
            serving: HashSet::new(),
            catch_up: CatchUp::default(),
            catch_up_at: now + CATCH_UP_EVERY,
            turn: 0,
            walk_at: None,
            walk_pause: WALK_LEAST,
            book: Book::default(),
            met_at: now,
            reachability: Reachability::new(setup.local),
            relays: HashMap::new(),
            standings: HashMap::new(),
            private: setup.private,
            // A relay must name addresses to those it serves.
            tells_listen_addresses: setup.relay && setup.public.is_empty(),
        };
        for address in setup.public {
            node.reachability.confirm(&address, Proof::Told);
            node.swarm.add_external_address(address);
        }
        let listening = lock(&node.shared.listening).clone();
        for address in &listening {
            node.offer(address);
        }
        node.tell_reachability();
        for (peer, address) in setup.known {
            node.learn(peer, &[address], Word::Heard);
        }
        node
    }

    /// Work until told to close.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.flush();
            let full_until = self.full_until;
            tokio::select! {
                _ = &mut inputs.closing => break,
                Some(command) = inputs.commands.recv(), if self.outbox.has_room() => {
                    self.command(command);
                    while self.outbox.has_room()
                        && let Ok(command) = inputs.commands.try_recv()
                    {
                        self.command(command);
                    }
                }
                Some(outcome) = inputs.outcomes.recv() => {
                    self.outcome(outcome);
                    while let Ok(outcome) = inputs.outcomes.try_recv() {
                        self.outcome(outcome);
                    }
                }
                event = self.swarm.select_next_some(), if self.in_flight < MAX_IN_FLIGHT => {
                    self.event(event);
                }
                () = tokio::time::sleep_until(full_until.unwrap_or_else(tokio::time::Instant::now)),
                    if full_until.is_some() => self.full_until = None,
                _ = ticker.tick() => self.tick(),
            }
        }
        self.goodbye().await;
    }

    async fn goodbye(&mut self) {
        for peer in self.peers.all() {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, closed).await;
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Announce(header, body) => {
                self.outbox.push(Outgoing::announcement(header, body));
            }
            Command::Reveal(header, body) => self.outbox.push(Outgoing::reveal(header, body)),
            Command::Fetch(header, deadline) => self.fetch(header, deadline),
            Command::Dial(address, peer) => {
                if let Some(peer) = peer {
                    self.swarm.behaviour_mut().limits.bypass_peer_id(&peer);
                }
                self.dialer.add(address, peer, Instant::now());
                self.dial_due();
            }
            Command::Learn(peer, addresses) => self.learn(peer, &addresses, Word::Own),
            Command::SetStanding(peer, standing) => self.set_standing(peer, standing),
            Command::Block(peer) => {
                self.swarm.behaviour_mut().blocked.block_peer(peer);
            }
            Command::Unblock(peer) => {
                self.swarm.behaviour_mut().blocked.unblock_peer(peer);
            }
        }
    }

    fn set_standing(&mut self, peer: PeerId, standing: f64) {
        if self.standings.len() < MAX_STANDINGS || self.standings.contains_key(&peer) {
            self.standings.insert(peer, standing);
        }
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        // Of no effect until it is connected.
        gossip.set_application_score(&peer, standing);
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.dial_due();
        self.reserve();
        for peer in self.peers.unwanted(now) {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        for connection in self.peers.superseded(now) {
            self.swarm.close_connection(connection);
        }
        let over: Vec<Hash> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| fetch.is_over(now))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in over {
            if let Some(fetch) = self.fetches.remove(&hash) {
                let why = fetch.last.clone();
                self.fetch_failed(fetch, why);
            }
        }
        self.start_fetches();
        if self.walk_at.is_some_and(|at| at <= now) {
            self.walk(now);
        }
        if self.met_at <= now {
            self.met_at = now + MET_EVERY;
            *lock(&self.shared.met) = self.book.met(MAX_MET);
        }
        if self.catch_up_at <= now {
            self.catch_up_at = now + CATCH_UP_EVERY;
            self.outbox.unpark();
            self.turn = self.turn.wrapping_add(1);
            let members: Vec<PeerId> = self.peers.members().collect();
            if let Some(peer) = members.get(self.turn % members.len().max(1)) {
                self.ask_rounds(*peer);
            }
            if let Some(rounds) = self.rules.rounds(now_ms()) {
                self.shared.records.lock().forget_before(*rounds.start());
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.protocol_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.dialer.connected(connection_id, peer_id);
                self.came_in(&peer_id, &endpoint);
                self.peers
                    .connected(peer_id, connection_id, &endpoint, Instant::now());
                self.share_members();
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                ..
            } => self.left(peer_id, connection_id),
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
                ..
            } => {
                self.dial_failed(connection_id, &error);
                if let Some(peer) = peer_id
                    && !self.peers.is_connected(&peer)
                {
                    self.swarm.behaviour_mut().kad.remove_peer(&peer);
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.offer(&address);
                self.listening(|all| {
                    if !all.contains(&address) {
                        all.push(address);
                    }
                });
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening(|all| all.retain(|other| *other != address));
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                addresses,
                ..
            } => self.listener_closed(listener_id, &addresses),
            SwarmEvent::ExternalAddrConfirmed { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                self.tell_reachability();
            }
            _ => {}
        }
    }

    /// Name a listen address to those that this node serves as a relay.
    fn offer(&mut self, address: &Multiaddr) {
        let of_use = !is_loopback(address) || self.reachability.is_local();
        if self.tells_listen_addresses && of_use && !is_relayed(address) {
            self.swarm.add_external_address(address.clone());
        }
    }

    fn protocol_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossip(event) => self.gossip_event(event),
            BehaviourEvent::Pull(event) => self.request_event(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, &info);
            }
            BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetClosestPeers(result),
                ..
            }) => match result {
                Ok(found) => self.found(&found.peers),
                Err(kad::GetClosestPeersError::Timeout { peers, .. }) => self.found(&peers),
            },
            BehaviourEvent::Ping(ping::Event { peer, result, .. }) => {
                self.pinged(peer, result.is_ok());
            }
            BehaviourEvent::Mdns(event) => self.neighbours(event),
            BehaviourEvent::Candidates(event) => self.tested(&event),
            BehaviourEvent::Upnp(event) => self.router(event),
            BehaviourEvent::RelayClient(event) => self.relay_event(&event),
            BehaviourEvent::HolePunch(event) => self.hole_punched(&event),
            _ => {}
        }
    }

    fn pinged(&mut self, peer: PeerId, answered: bool) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        known.unanswered = if answered { 0 } else { known.unanswered + 1 };
        if known.unanswered >= MAX_UNANSWERED {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn share_members(&self) {
        *lock(&self.shared.links) = self.peers.links();
    }

    fn tell(&self, what: What) {
        self.shared.queue.offer(Event {
            at_ms: now_ms(),
            what,
        });
    }
}
