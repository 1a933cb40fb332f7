//! The endpoint: what the application holds.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, swarm};
use rlswarm_proto::Hash;
use rlswarm_proto::admission::{Reason, Verdict as Admitted};
use rlswarm_proto::body::Record;
use rlswarm_proto::identity::Identity;
use rlswarm_proto::wire;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::address;
use crate::behaviour::{Behaviour, Names, Options};
use crate::clock::now_ms;
use crate::config::Config;
use crate::counters::{Counters, read};
use crate::error::{CommandError, OpenError};
use crate::events::{Event, Queue};
use crate::intake::Intake;
use crate::node::{Command, Inputs, MAX_IN_FLIGHT, Node, Setup, Shared, lock};
use crate::peers::Link;
use crate::reachability::Verdict;
use crate::records::Records;
use crate::scoring::STANDING;
use crate::transport;

/// Addresses of one peer that are looked at.
const MAX_LEARNT: usize = 16;
/// Commands that may wait for the swarm task.
const MAX_COMMANDS: usize = 1024;
/// Connections that carry nothing are kept this long.
const IDLE: Duration = Duration::from_secs(120);
/// How long binding the listen addresses may take.
const LISTEN_WITHIN: Duration = Duration::from_secs(5);
/// How long closing may take, in two parts.
const CLOSE_TASK: Duration = Duration::from_millis(600);
const CLOSE_RUNTIME: Duration = Duration::from_millis(200);

/// One libp2p node of one swarm, on its own threads. No method waits for the network.
#[derive(Debug)]
pub struct Endpoint {
    peer: PeerId,
    author: rlswarm_proto::PublicKey,
    shared: Arc<Shared>,
    private: bool,
    blocked: Mutex<Vec<PeerId>>,
    commands: mpsc::Sender<Command>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    runtime: Runtime,
    closing: oneshot::Sender<()>,
    closed: std_mpsc::Receiver<()>,
}

impl Endpoint {
    /// Bind, listen and start dialling. `wake` is called from a thread of its own whenever events
    /// came since the last [`Endpoint::drain`].
    ///
    /// # Errors
    /// [`OpenError`] if an address is wrong or taken, or the system refuses threads or sockets.
    pub fn open(
        identity: &Identity,
        config: Config,
        wake: Option<Box<dyn Fn() + Send>>,
    ) -> Result<Self, OpenError> {
        let mut seed = identity.seed();
        let key = Keypair::ed25519_from_bytes(seed.as_mut_slice())
            .map_err(|error| OpenError::Network(format!("can't use the peer key: {error}")))?;
        let peer = key.public().to_peer_id();
        let swarm_key = config
            .swarm_key
            .as_deref()
            .map(transport::swarm_key)
            .transpose()?;
        let plan = Plan::read(&config, peer).map_err(OpenError::Address)?;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("rlswarm-net")
            .enable_all()
            .build()
            .map_err(|error| OpenError::Network(format!("can't start threads: {error}")))?;
        let names = Names::new(&config.rules.swarm);
        let shared = Arc::new(Shared {
            records: Arc::new(Records::new(config.rules.clone())),
            queue: Arc::new(Queue::new()),
            counters: Arc::new(Counters::default()),
            links: Mutex::new(Vec::new()),
            listening: Mutex::new(Vec::new()),
            external: Mutex::new(Vec::new()),
            reachability: Mutex::new((Verdict::Unknown, String::new())),
            met: Mutex::new(Vec::new()),
        });
        let options = Options {
            relay: config.relay,
            dial_back: config.relay || !plan.public.is_empty(),
            mdns: config.mdns,
            upnp: config.upnp,
            memory_limit: config.memory_limit,
        };
        let mut swarm = {
            let _inside = runtime.enter();
            let (transport, relay_client) = transport::build(&key, swarm_key, &shared.counters)?;
            Swarm::new(
                transport,
                Behaviour::new(&key, &names, relay_client, options)?,
                peer,
                swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE),
            )
        };
        for blocked in &plan.blocked {
            swarm.behaviour_mut().blocked.block_peer(*blocked);
        }
        let (swarm, addresses) = runtime.block_on(bind(swarm, plan.listen))?;
        *lock(&shared.listening) = addresses;

        let (commands, commands_in) = mpsc::channel(MAX_COMMANDS);
        let (outcomes, outcomes_in) = mpsc::unbounded_channel();
        // One event of the swarm may bring more than one job.
        let (jobs, jobs_in) = std_mpsc::sync_channel(2 * MAX_IN_FLIGHT);
        let intake = Intake {
            records: Arc::clone(&shared.records),
            queue: Arc::clone(&shared.queue),
            counters: Arc::clone(&shared.counters),
            outcomes,
            max_raw: config.rules.max_body_raw as usize,
            early: VecDeque::new(),
        };
        spawn("rlswarm-intake", move || intake.run(&jobs_in))?;
        if let Some(wake) = wake {
            let queue = Arc::clone(&shared.queue);
            spawn("rlswarm-wake", move || queue.wake_loop(wake))?;
        }
        let (closing, closing_in) = oneshot::channel();
        let (closed_out, closed) = std_mpsc::sync_channel(1);
        let setup = Setup {
            names,
            rules: config.rules,
            shared: Arc::clone(&shared),
            jobs,
            known: plan.known,
            public: plan.public,
            private: swarm_key.is_some(),
            relay: config.relay,
            local: plan.local,
        };
        let node = Node::new(swarm, setup);
        runtime.spawn(async move {
            node.run(Inputs {
                commands: commands_in,
                outcomes: outcomes_in,
                closing: closing_in,
            })
            .await;
            let _ = closed_out.send(());
        });
        let endpoint = Self {
            peer,
            author: identity.public_key(),
            shared,
            private: swarm_key.is_some(),
            blocked: Mutex::new(plan.blocked),
            commands,
            running: Mutex::new(Some(Running {
                runtime,
                closing,
                closed,
            })),
        };
        for (address, named) in plan.dial {
            endpoint
                .dial_parsed(address, named)
                .map_err(|error| OpenError::Network(error.to_string()))?;
        }
        Ok(endpoint)
    }

    /// This node's `PeerId`, base58.
    #[must_use]
    pub fn peer_id(&self) -> String {
        self.peer.to_base58()
    }

    /// Where this node listens and where others reach it, with its `PeerId`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let listening = lock(&self.shared.listening).clone();
        let external = lock(&self.shared.external).clone();
        for address in listening.into_iter().chain(external) {
            let text = address::with_peer(address, self.peer).to_string();
            if !all.contains(&text) {
                all.push(text);
            }
        }
        all
    }

    /// Connected peers of this swarm.
    #[must_use]
    pub fn peers(&self) -> Vec<String> {
        self.links().into_iter().map(|link| link.peer).collect()
    }

    /// How they are connected.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        lock(&self.shared.links).clone()
    }

    /// Whether others can reach this node, and a sentence that says why.
    #[must_use]
    pub fn reachability(&self) -> (Verdict, String) {
        lock(&self.shared.reachability).clone()
    }

    /// At most 100 peers that were connected once, those met last first: their addresses, and when
    /// they were last connected (Unix milliseconds). What [`Config::known`] wants in a later run.
    #[must_use]
    pub fn met(&self) -> Vec<(Vec<String>, u64)> {
        lock(&self.shared.met)
            .iter()
            .map(|(addresses, seen)| {
                let texts = addresses.iter().map(ToString::to_string).collect();
                (texts, *seen)
            })
            .collect()
    }

    /// Note where a peer says that it is found, in a record that it signed. What is of no use is
    /// skipped.
    ///
    /// # Errors
    /// [`CommandError`] if the name is none, or if the endpoint can't take it.
    pub fn learn(&self, peer: &str, addresses: &[String]) -> Result<(), CommandError> {
        let peer = peer_id(peer)?;
        let addresses = addresses
            .iter()
            .take(MAX_LEARNT)
            .filter_map(|text| text.parse().ok())
            .collect();
        self.send(Command::Learn(peer, addresses))
    }

    /// Let a peer's standing count in gossip: what it gets beside what its messages earn. Below
    /// −500 it hears of no records by hearsay, below −1000 none of this node's are sent to it, below
    /// −2500 nothing of it is heard. Values outside [−3000, 100] count as the nearest inside.
    ///
    /// # Errors
    /// [`CommandError`] if the name is none, or if the endpoint can't take it.
    pub fn set_standing(&self, peer: &str, standing: f64) -> Result<(), CommandError> {
        let standing = if standing.is_nan() { 0.0 } else { standing };
        let standing = standing.clamp(*STANDING.start(), *STANDING.end());
        self.send(Command::SetStanding(peer_id(peer)?, standing))
    }

    /// Never talk to a peer again.
    ///
    /// # Errors
    /// [`CommandError`] if the name is none, or if the endpoint can't take it.
    pub fn block(&self, peer: &str) -> Result<(), CommandError> {
        let peer = peer_id(peer)?;
        self.send(Command::Block(peer))?;
        let mut blocked = lock(&self.blocked);
        if !blocked.contains(&peer) {
            blocked.push(peer);
        }
        Ok(())
    }

    /// Talk to a peer again.
    ///
    /// # Errors
    /// [`CommandError`] if the name is none, or if the endpoint can't take it.
    pub fn unblock(&self, peer: &str) -> Result<(), CommandError> {
        let peer = peer_id(peer)?;
        self.send(Command::Unblock(peer))?;
        lock(&self.blocked).retain(|other| *other != peer);
        Ok(())
    }

    /// Peers that are never talked to.
    #[must_use]
    pub fn blocked(&self) -> Vec<String> {
        let blocked = lock(&self.blocked);
        blocked.iter().map(|peer| peer.to_base58()).collect()
    }

    /// Keep trying an address.
    ///
    /// # Errors
    /// [`CommandError::Address`] if it can't be one, or another if the endpoint can't take it.
    pub fn dial(&self, text: &str) -> Result<(), CommandError> {
        let (address, peer) = address::dial(text, self.private).map_err(CommandError::Address)?;
        self.dial_parsed(address, peer)
    }

    fn dial_parsed(&self, address: Multiaddr, peer: Option<PeerId>) -> Result<(), CommandError> {
        // Lists of addresses are shared by all nodes, so they often hold one's own.
        if peer == Some(self.peer) {
            return Ok(());
        }
        self.send(Command::Dial(address, peer))
    }

    /// Gossip a record of one's own, with its body where that is small and needs no reveal.
    ///
    /// # Errors
    /// [`CommandError`] if the record is another's, peers would not take it, or there is no room.
    pub fn announce(&self, record: Record) -> Result<(), CommandError> {
        let fields = record.header.fields();
        if fields.author != self.author {
            return Err(CommandError::NotOwn);
        }
        let header = Arc::new(record.header);
        let inline = wire::is_inline(&header).then(|| record.stored.clone());
        // The place in the queue comes first: a record that counts must also go out.
        let place = self.place()?;
        {
            let mut records = self.shared.records.lock();
            match records.admission.admit(&header, now_ms()) {
                Admitted::Accept => {}
                Admitted::Ignore(Reason::Duplicate) => return Ok(()),
                Admitted::Ignore(reason @ Reason::Quota)
                | Admitted::Reject(reason @ Reason::BodyTooLarge) => {
                    return Err(CommandError::TooLarge(reason));
                }
                Admitted::Ignore(reason) | Admitted::Reject(reason) => {
                    return Err(CommandError::NotAdmissible(reason));
                }
            }
            let released = !header.fields().kind.commits_first();
            records.insert_own(Arc::clone(&header), record.stored, released);
        }
        place.send(Command::Announce(header, inline));
        Ok(())
    }

    /// Serve the body of a record of one's own from now on, and gossip it if it is small.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] for a record that was never announced here.
    pub fn reveal(&self, record: &Hash) -> Result<(), CommandError> {
        let place = self.place()?;
        let (header, body, first) = {
            let mut records = self.shared.records.lock();
            let first = records.get(record).is_some_and(|entry| !entry.released);
            let (header, body) = records.release(record).ok_or(CommandError::Unknown)?;
            (header, body, first)
        };
        if first && wire::is_small(&header) {
            place.send(Command::Reveal(header, body));
        }
        Ok(())
    }

    /// Pull a body. It comes as an event, and so does failure after `timeout`.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] if the header is not known here, [`CommandError::NoPeers`] if no
    /// peer is connected.
    pub fn fetch(&self, record: &Hash, timeout: Duration) -> Result<(), CommandError> {
        let place = self.place()?;
        let header = {
            let records = self.shared.records.lock();
            let entry = records.get(record).ok_or(CommandError::Unknown)?;
            if entry.delivered {
                return Ok(());
            }
            Arc::clone(&entry.header)
        };
        if lock(&self.shared.links).is_empty() {
            return Err(CommandError::NoPeers);
        }
        // Far enough to be for ever, and near enough not to overflow.
        let timeout = timeout.min(Duration::from_secs(1 << 30));
        place.send(Command::Fetch(header, Instant::now() + timeout));
        Ok(())
    }

    /// Take what has arrived, at most so many events and body bytes, but one at least if there is
    /// any.
    ///
    /// # Errors
    /// [`CommandError::Closed`] after [`Endpoint::close`].
    pub fn drain(&self, max_items: usize, max_bytes: usize) -> Result<Vec<Event>, CommandError> {
        if self.commands.is_closed() {
            return Err(CommandError::Closed);
        }
        Ok(self.shared.queue.drain(max_items, max_bytes))
    }

    /// Counts by name.
    #[must_use]
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.shared.counters;
        let queue = &self.shared.queue;
        vec![
            ("headers_in", read(&counters.headers_in)),
            ("bodies_in", read(&counters.bodies_in)),
            ("rejected", read(&counters.rejected)),
            ("ignored", read(&counters.ignored)),
            ("bytes_in", read(&counters.bytes_in)),
            ("bytes_out", read(&counters.bytes_out)),
            ("queue", queue.len() as u64),
            ("dropped", queue.dropped()),
            ("unsent", read(&counters.unsent)),
            ("holes_punched", read(&counters.holes_punched)),
            ("holes_failed", read(&counters.holes_failed)),
        ]
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Say goodbye and stop, within a second. Further calls do nothing.
    pub fn close(&self) {
        let Some(running) = lock(&self.running).take() else {
            return;
        };
        let _ = running.closing.send(());
        let _ = running.closed.recv_timeout(CLOSE_TASK);
        self.shared.queue.close();
        running.runtime.shutdown_timeout(CLOSE_RUNTIME);
    }

    fn place(&self) -> Result<Place<'_>, CommandError> {
        self.commands
            .try_reserve()
            .map(Place)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(()) => CommandError::QueueFull,
                mpsc::error::TrySendError::Closed(()) => CommandError::Closed,
            })
    }

    fn send(&self, command: Command) -> Result<(), CommandError> {
        self.place()?.send(command);
        Ok(())
    }
}

impl Drop for Endpoint {
    // Dropping must not wait: the other ends see their channels close.
    fn drop(&mut self) {
        if let Some(running) = lock(&self.running).take() {
            let _ = running.closing.send(());
            self.shared.queue.close();
            running.runtime.shutdown_background();
        }
    }
}

/// A reserved place in the queue of commands.
struct Place<'a>(mpsc::Permit<'a, Command>);

impl Place<'_> {
    fn send(self, command: Command) {
        self.0.send(command);
    }
}

fn peer_id(text: &str) -> Result<PeerId, CommandError> {
    text.parse()
        .map_err(|_| CommandError::NoPeerId(text.chars().take(100).collect()))
}

/// The addresses of a configuration, read.
struct Plan {
    listen: Vec<Multiaddr>,
    local: bool,
    dial: Vec<(Multiaddr, Option<PeerId>)>,
    known: Vec<(PeerId, Multiaddr)>,
    public: Vec<Multiaddr>,
    blocked: Vec<PeerId>,
}

impl Plan {
    fn read(config: &Config, me: PeerId) -> Result<Self, String> {
        let private = config.swarm_key.is_some();
        let dial = |text: &String| address::dial(text, private);
        let listen = config.listen.iter();
        let listen: Vec<Multiaddr> = listen
            .map(|text| address::listen(text, private))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            local: listen
                .iter()
                .all(|address| address::ip(address).is_some_and(|ip| ip.is_loopback())),
            listen,
            dial: config.peers.iter().map(dial).collect::<Result<_, _>>()?,
            known: config
                .known
                .iter()
                .filter_map(|text| dial(text).ok())
                .filter_map(|(address, peer)| Some((peer?, address)))
                .collect(),
            public: config
                .public_addresses
                .iter()
                .map(|text| dial(text).map(|(address, _)| address::without_peer(address, me)))
                .collect::<Result<_, _>>()?,
            blocked: config
                .blocked
                .iter()
                .map(|text| peer_id(text).map_err(|error| error.to_string()))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(|_| ())
        .map_err(|error| OpenError::Network(format!("can't start threads: {error}")))
}

/// Listen on all addresses and wait until it is known where that is.
async fn bind(
    mut swarm: Swarm<Behaviour>,
    listen: Vec<Multiaddr>,
) -> Result<(Swarm<Behaviour>, Vec<Multiaddr>), OpenError> {
    for address in &listen {
        probe(address)?;
    }
    let mut waiting = std::collections::HashMap::new();
    for address in listen {
        match swarm.listen_on(address.clone()) {
            Ok(listener) => {
                waiting.insert(listener, address);
            }
            // "All addresses of IPv6" is none on a machine without it.
            Err(error) if address::is_any_v6(&address) && !is_in_use(&error) => {}
            Err(error) => return Err(listen_error(&address, &error)),
        }
    }
    let mut addresses = Vec::new();
    let deadline = tokio::time::sleep(LISTEN_WITHIN);
    tokio::pin!(deadline);
    while !waiting.is_empty() {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    waiting.remove(&listener_id);
                    addresses.push(address);
                }
                SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
                | SwarmEvent::ListenerError { listener_id, error } => {
                    if let Some(address) = waiting.get(&listener_id) {
                        return Err(listen_error(address, &error));
                    }
                }
                _ => {}
            },
            () = &mut deadline => {
                return Err(OpenError::Network("listening took too long to begin".to_owned()));
            }
        }
    }
    Ok((swarm, addresses))
}

/// Bind once and let go: libp2p sets `SO_REUSEPORT`, with which a second node on the same port would
/// take half of the first one's connections instead of failing.
fn probe(address: &Multiaddr) -> Result<(), OpenError> {
    let bound = match address::socket(address) {
        Some((socket, udp)) if socket.port() != 0 => {
            if udp {
                std::net::UdpSocket::bind(socket).map(drop)
            } else {
                std::net::TcpListener::bind(socket).map(drop)
            }
        }
        _ => return Ok(()),
    };
    match bound {
        Err(error) if is_in_use(&error) || !address::is_any_v6(address) => {
            Err(listen_error(address, &error))
        }
        _ => Ok(()),
    }
}

fn is_in_use(error: &(dyn Error + 'static)) -> bool {
    io_error(error).is_some_and(|io| io.kind() == std::io::ErrorKind::AddrInUse)
}

fn listen_error(address: &Multiaddr, error: &(dyn Error + 'static)) -> OpenError {
    match io_error(error) {
        Some(io) if io.kind() == std::io::ErrorKind::AddrInUse => {
            OpenError::PortInUse(address.to_string())
        }
        Some(io) => OpenError::Network(format!("can't listen on {address}: {io}")),
        None => OpenError::Network(format!("can't listen on {address}: {error}")),
    }
}

/// The operating system's error inside whatever libp2p wrapped it into.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a std::io::Error> {
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return match io.get_ref() {
            Some(inner) => io_error(inner).or(Some(io)),
            None => Some(io),
        };
    }
    error.source().and_then(io_error)
}
