//! The task that owns the swarm. Nothing here blocks or computes for long.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use libp2p::gossipsub::{self, PublishError, TopicHash};
use libp2p::request_response::{self, InboundRequestId, OutboundRequestId};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, identity, kad};
use rlswarm_proto::Hash;
use rlswarm_proto::admission::Rules;
use rlswarm_proto::header::Header;
use rlswarm_proto::wire::{Request, Response};
use tokio::sync::{mpsc, oneshot};

use crate::address::{is_loopback, with_peer};
use crate::behaviour::{Behaviour, BehaviourEvent, Names};
use crate::catch_up::CatchUp;
use crate::clock::now_ms;
use crate::counters::{Counters, add};
use crate::dialer::Dialer;
use crate::events::{Event, Queue, What};
use crate::fetch::{Fetch, Next};
use crate::intake::{Job, Outcome, Source};
use crate::outbox::{Outbox, Outgoing};
use crate::peers::{Peers, Standing};
use crate::records::Records;
use crate::serve::{self, MAX_SERVING};

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
/// Addresses tried for one discovered peer.
const MAX_ADDRESSES: usize = 8;

/// What the endpoint tells the task.
#[derive(Debug)]
pub(crate) enum Command {
    Announce(Arc<Header>, Option<Bytes>),
    Reveal(Arc<Header>, Bytes),
    Fetch(Arc<Header>, Instant),
    Dial(Multiaddr, Option<PeerId>),
}

/// What the task shares with the endpoint and the intake.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) records: Arc<Records>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) members: Mutex<Vec<PeerId>>,
    pub(crate) listening: Mutex<Vec<Multiaddr>>,
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
}

impl Node {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        names: Names,
        rules: Rules,
        shared: Arc<Shared>,
        jobs: SyncSender<Job>,
    ) -> Self {
        Self {
            swarm,
            records_topic: names.records.hash(),
            names,
            rules,
            shared,
            jobs,
            in_flight: 0,
            outbox: Outbox::default(),
            full_until: None,
            dialer: Dialer::default(),
            peers: Peers::default(),
            fetches: HashMap::new(),
            requests: HashMap::new(),
            serving: HashSet::new(),
            catch_up: CatchUp::default(),
            catch_up_at: Instant::now() + CATCH_UP_EVERY,
            turn: 0,
            walk_at: None,
            walk_pause: WALK_LEAST,
        }
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
            Command::Dial(address, peer) => self.dialer.add(address, peer, Instant::now()),
            Command::Fetch(header, deadline) => self.fetch(header, deadline),
        }
        self.dial_due();
    }

    /// Hand the outbox to gossipsub.
    fn flush(&mut self) {
        while self.full_until.is_none()
            && let Some(message) = self.outbox.first()
        {
            let current = self
                .rules
                .rounds(now_ms())
                .is_some_and(|rounds| rounds.contains(&message.header.fields().round));
            if !current {
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
                    self.outbox.rename();
                    self.full_until = Some(tokio::time::Instant::now() + FULL_PAUSE);
                }
                // No other error can come for messages of our making.
                Ok(_) | Err(_) => self.outbox.done(),
            }
        }
    }

    fn submit(&mut self, job: Job) {
        if self.jobs.try_send(job).is_ok() {
            self.in_flight += 1;
        } else {
            add(&self.shared.counters.ignored, 1);
        }
    }

    fn outcome(&mut self, outcome: Outcome) {
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

    fn tick(&mut self) {
        let now = Instant::now();
        self.dial_due();
        for peer in self.peers.unwanted(now) {
            let _ = self.swarm.disconnect_peer_id(peer);
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

    // ---- peers ----

    fn dial_due(&mut self) {
        let due = self
            .dialer
            .due(Instant::now(), |peer| self.peers.is_connected(peer));
        for (address, peer) in due {
            let options = match peer {
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::Disconnected)
                    .addresses(vec![address.clone()])
                    .build(),
                None => DialOpts::unknown_peer_id().address(address.clone()).build(),
            };
            let connection = options.connection_id();
            self.dialer.dialling(&address, connection);
            if let Err(error) = self.swarm.dial(options) {
                self.dial_failed(connection, &error);
            }
        }
    }

    fn dial_failed(&mut self, connection: libp2p::swarm::ConnectionId, error: &DialError) {
        if let Some(address) = self.dialer.failed(connection, Instant::now()) {
            self.tell(What::Unreachable {
                detail: format!("{address}: {}", cause(error)),
            });
        }
    }

    fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        let remote = known.remote.clone();
        if info.protocol_version != self.names.version {
            if !matches!(known.standing, Standing::Foreign(_)) {
                known.standing = Standing::Foreign(Instant::now());
            }
            if self.peers.tell_once(peer) {
                self.tell(What::OtherSwarm {
                    peer,
                    detail: format!("{remote} speaks {}", printable(&info.protocol_version)),
                });
            }
            return;
        }
        // An address that leads nowhere but to its own machine is of use only on that machine.
        let local = is_loopback(&remote);
        let usable: Vec<&Multiaddr> = info
            .listen_addrs
            .iter()
            .filter(|address| local || !is_loopback(address))
            .take(MAX_ADDRESSES)
            .collect();
        let address = if known.dialled {
            remote
        } else {
            usable.first().map_or(remote, |address| (*address).clone())
        };
        known.remote = with_peer(address, peer);
        let address = known.remote.to_string();
        for address in usable {
            self.swarm
                .behaviour_mut()
                .kad
                .add_address(&peer, address.clone());
        }
        if std::mem::replace(&mut known.standing, Standing::Member) == Standing::Member {
            return;
        }
        self.share_members();
        self.tell(What::PeerJoined { peer, address });
        self.ask_rounds(peer);
        let now = Instant::now();
        self.catch_up_at = self.catch_up_at.min(now + CATCH_UP_AGAIN);
        self.walk_pause = WALK_LEAST;
        let soon = now + WALK_SOON;
        self.walk_at = Some(self.walk_at.map_or(soon, |at| at.min(soon)));
    }

    fn left(&mut self, peer: PeerId) {
        let Some(known) = self.peers.left(&peer) else {
            return;
        };
        let foreign = matches!(known.standing, Standing::Foreign(_));
        self.dialer.lost(&peer, foreign, Instant::now());
        self.catch_up.forget(&peer);
        if known.standing == Standing::Member {
            self.share_members();
            self.tell(What::PeerLeft {
                peer,
                address: known.remote.to_string(),
            });
        }
    }

    fn share_members(&self) {
        *self
            .shared
            .members
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.peers.members().collect();
    }

    fn tell(&self, what: What) {
        self.shared.queue.offer(Event {
            at_ms: now_ms(),
            what,
        });
    }

    /// Look for further peers: a Kademlia walk to a random place.
    fn walk(&mut self, now: Instant) {
        if self.peers.members().count() < ENOUGH_PEERS {
            self.swarm
                .behaviour_mut()
                .kad
                .get_closest_peers(PeerId::random());
        }
        self.walk_at = Some(now + self.walk_pause);
        self.walk_pause = (self.walk_pause * 2).min(WALK_MOST);
    }

    fn found(&mut self, found: Vec<kad::PeerInfo>) {
        let mut wanted = ENOUGH_PEERS.saturating_sub(self.peers.members().count());
        for info in found {
            if wanted == 0 {
                return;
            }
            if info.peer_id == *self.swarm.local_peer_id() || self.peers.is_connected(&info.peer_id)
            {
                continue;
            }
            wanted -= 1;
            let options = DialOpts::peer_id(info.peer_id)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(info.addrs.into_iter().take(MAX_ADDRESSES).collect())
                .build();
            // One of many: others will do if it can't be reached.
            let _ = self.swarm.dial(options);
        }
    }

    // ---- bodies ----

    fn fetch(&mut self, header: Arc<Header>, deadline: Instant) {
        let hash = *header.hash();
        let held = {
            let records = self.shared.records.lock();
            match records.get(&hash) {
                Some(entry) if entry.delivered => return,
                Some(entry) => entry.body.is_some(),
                None => false,
            }
        };
        let now = Instant::now();
        let fetch = self
            .fetches
            .entry(hash)
            .or_insert_with(|| Fetch::new(header, deadline, now));
        fetch.deadline = fetch.deadline.max(deadline);
        if held {
            self.submit(Job::Deliver(hash));
        } else {
            self.start_fetches();
        }
    }

    fn start_fetches(&mut self) {
        let now = Instant::now();
        let active = self.fetches.values().filter(|f| f.is_active()).count();
        if active >= MAX_PULLS || self.fetches.is_empty() || self.shared.queue.is_crowded() {
            return;
        }
        let idle: Vec<Hash> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| fetch.is_idle(now))
            .map(|(hash, _)| *hash)
            .take(MAX_PULLS - active)
            .collect();
        for hash in idle {
            let candidates = self.candidates(&hash);
            if let Some(fetch) = self.fetches.get_mut(&hash) {
                let next = fetch.start(candidates, now);
                self.pursue(hash, next);
            }
        }
    }

    /// Who may have a body, the likeliest first: its author, those who passed the header on, others.
    fn candidates(&self, hash: &Hash) -> Vec<PeerId> {
        let mut out: Vec<PeerId> = Vec::new();
        {
            let records = self.shared.records.lock();
            if let Some(entry) = records.get(hash) {
                out.extend(author_id(&entry.header));
                out.extend(entry.providers.iter());
            }
        }
        // Each body starts at another peer, so that one peer isn't asked for all.
        let mut others: Vec<PeerId> = self.peers.members().collect();
        let len = others.len().max(1);
        others.rotate_left(usize::from(hash[0]) % len);
        out.extend(others.into_iter().take(ENOUGH_PEERS));
        let mut seen = HashSet::new();
        out.retain(|peer| self.peers.is_member(peer) && seen.insert(*peer));
        out
    }

    fn pursue(&mut self, hash: Hash, next: Next) {
        match next {
            Next::Wait => {}
            Next::Ask(peer, offsets) => {
                for offset in offsets {
                    let request = Request::Body {
                        record: hash,
                        offset,
                    };
                    self.ask(&peer, request, Purpose::Chunk(hash, offset));
                }
            }
            Next::Check(peer, body) => self.submit(Job::Fetched(hash, body, peer)),
        }
    }

    fn fetch_failed(&self, fetch: Fetch, detail: String) {
        self.shared.queue.push(Event {
            at_ms: now_ms(),
            what: What::FetchFailed {
                header: fetch.header,
                detail,
            },
        });
    }

    // ---- requests ----

    fn ask(&mut self, peer: &PeerId, request: Request, purpose: Purpose) {
        let id = self.swarm.behaviour_mut().pull.send_request(peer, request);
        self.requests.insert(id, purpose);
    }

    fn ask_rounds(&mut self, peer: PeerId) {
        let Some(rounds) = self.rules.rounds(now_ms()) else {
            return;
        };
        let newest = *rounds.end();
        for round in newest.saturating_sub(1)..=newest {
            self.ask(&peer, Request::Round(round), Purpose::CatchUp);
        }
    }

    fn ask_headers(&mut self, peer: PeerId) {
        let wanted = {
            let records = self.shared.records.lock();
            self.catch_up
                .next(&peer, |hash| records.get(hash).is_some())
        };
        if !wanted.is_empty() {
            self.ask(&peer, Request::Headers(wanted), Purpose::CatchUp);
        }
    }

    fn request_event(&mut self, event: request_response::Event<Request, Response>) {
        match event {
            request_response::Event::Message {
                peer,
                message:
                    request_response::Message::Request {
                        request_id,
                        request,
                        channel,
                    },
                ..
            } => {
                let response = if self.serving.len() >= MAX_SERVING {
                    Response::Busy
                } else {
                    serve::answer(&self.shared.records, &request)
                };
                let sent = self
                    .swarm
                    .behaviour_mut()
                    .pull
                    .send_response(channel, response);
                if sent.is_ok() && self.peers.is_connected(&peer) {
                    self.serving.insert(request_id);
                }
            }
            request_response::Event::Message {
                peer,
                message:
                    request_response::Message::Response {
                        request_id,
                        response,
                    },
                ..
            } => self.answered(peer, request_id, response),
            request_response::Event::OutboundFailure {
                peer, request_id, ..
            } => match self.requests.remove(&request_id) {
                Some(Purpose::Chunk(hash, _)) => self.refused(hash, peer, "doesn't answer"),
                Some(Purpose::CatchUp) => self.catch_up.forget(&peer),
                None => {}
            },
            request_response::Event::InboundFailure { request_id, .. }
            | request_response::Event::ResponseSent { request_id, .. } => {
                self.serving.remove(&request_id);
            }
        }
    }

    fn answered(&mut self, peer: PeerId, id: OutboundRequestId, response: Response) {
        match (self.requests.remove(&id), response) {
            (Some(Purpose::Chunk(hash, offset)), Response::Chunk(bytes)) => {
                if let Some(fetch) = self.fetches.get_mut(&hash) {
                    let next = fetch.chunk(peer, offset, bytes, Instant::now());
                    self.pursue(hash, next);
                }
            }
            (Some(Purpose::Chunk(hash, _)), response) => {
                let why = match response {
                    Response::Busy => "is busy",
                    Response::Sealed => "hasn't revealed it yet",
                    Response::Unknown => "doesn't have it",
                    _ => "gave something else",
                };
                self.refused(hash, peer, why);
            }
            (Some(Purpose::CatchUp), Response::Hashes(hashes)) => {
                let missing: Vec<Hash> = {
                    let records = self.shared.records.lock();
                    hashes
                        .into_iter()
                        .filter(|hash| records.get(hash).is_none())
                        .collect()
                };
                self.catch_up.add(peer, missing.into_iter());
                self.ask_headers(peer);
            }
            (Some(Purpose::CatchUp), Response::Records(known)) => {
                let at_ms = now_ms();
                for bytes in known {
                    let source = Source {
                        peer,
                        message: None,
                        at_ms,
                    };
                    self.submit(Job::Known(bytes, source));
                }
                self.ask_headers(peer);
            }
            _ => {}
        }
    }

    fn refused(&mut self, hash: Hash, peer: PeerId, why: &str) {
        if let Some(fetch) = self.fetches.get_mut(&hash) {
            let next = fetch.refused(peer, why, Instant::now());
            self.pursue(hash, next);
        }
    }

    // ---- events ----

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.gossip_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Pull(event)) => self.request_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => self.identified(peer_id, &info),
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetClosestPeers(result),
                ..
            })) => self.found(match result {
                Ok(found) => found.peers,
                Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
            }),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let remote = endpoint.get_remote_address().clone();
                self.dialer.connected(connection_id, peer_id);
                self.peers
                    .connected(peer_id, remote, endpoint.is_dialer(), Instant::now());
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => self.left(peer_id),
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
            SwarmEvent::NewListenAddr { address, .. } => self.listening(|all| all.push(address)),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening(|all| all.retain(|other| *other != address));
            }
            _ => {}
        }
    }

    fn listening(&self, change: impl FnOnce(&mut Vec<Multiaddr>)) {
        change(
            &mut self
                .shared
                .listening
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn gossip_event(&mut self, event: gossipsub::Event) {
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
                failed_messages, ..
            } => add(
                &self.shared.counters.unsent,
                (failed_messages.priority + failed_messages.non_priority) as u64,
            ),
            _ => {}
        }
    }
}

fn author_id(header: &Header) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&header.fields().author).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// The innermost cause of a failed dial: what stands around it only says that dialling failed.
fn cause(error: &DialError) -> String {
    if let DialError::Transport(attempts) = error
        && let Some((_, error)) = attempts.first()
    {
        return innermost(error);
    }
    innermost(error)
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(io) = error.downcast_ref::<std::io::Error>()
        && let Some(inner) = io.get_ref()
    {
        return innermost(inner);
    }
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// A peer's text, safe to show: no control characters, and not long.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}
