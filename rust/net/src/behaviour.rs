//! The libp2p protocols that a node speaks, and how they are set.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, IdentTopic, MaxCountSubscriptionFilter, MessageAuthenticity, MessageId, ValidationMode,
    WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    PeerId, StreamProtocol, allow_block_list, autonat, dcutr, identify, kad, mdns,
    memory_connection_limits, ping, relay, upnp,
};
use rlswarm_proto::Hash;

use crate::candidates::Candidates;
use crate::codec::Codec;
use crate::error::OpenError;
use crate::ip_limits::IpLimits;
use crate::scoring::scoring;

/// The room that gossipsub needs above the largest message: it compares its limit with whole
/// frames, and with up to 8 KiB of the frame that follows.
const FRAME_MARGIN: usize = 64 << 10;
/// Messages that may wait for one peer. Each waits as a copy of its own, so few: at the largest
/// size this is 9 MB.
const QUEUE: usize = 512;

/// Names that belong to one swarm, so that two swarms never mix.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// The topic of announcements.
    pub(crate) records: IdentTopic,
    /// The topic of reveals.
    pub(crate) reveals: IdentTopic,
    /// What identify tells others.
    pub(crate) version: String,
    kad: String,
    pull: String,
}

impl Names {
    pub(crate) fn new(swarm: &Hash) -> Self {
        let id: String = swarm.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            records: IdentTopic::new(format!("/rlswarm/{id}/1/records")),
            reveals: IdentTopic::new(format!("/rlswarm/{id}/1/reveals")),
            version: format!("/rlswarm/{id}/1"),
            kad: format!("/rlswarm/{id}/kad/1.0.0"),
            pull: format!("/rlswarm/{id}/pull/1"),
        }
    }
}

type Filter = MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>;
/// Gossipsub as it is used here.
pub(crate) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, Filter>;

/// All protocols.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) memory: memory_connection_limits::Behaviour,
    pub(crate) ip_limits: IpLimits,
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) gossip: Gossip,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) pull: request_response::Behaviour<Codec>,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) relay: Toggle<relay::Behaviour>,
    pub(crate) hole_punch: dcutr::Behaviour,
    pub(crate) candidates: Candidates,
    pub(crate) dial_back: Toggle<autonat::v2::server::Behaviour>,
    pub(crate) upnp: Toggle<upnp::tokio::Behaviour>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Which of the optional protocols run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Pass on connections for others.
    pub(crate) relay: bool,
    /// Tell others whether they can be dialled: only who is reachable from anywhere can judge that.
    pub(crate) dial_back: bool,
    pub(crate) mdns: bool,
    pub(crate) upnp: bool,
    pub(crate) memory_limit: Option<usize>,
}

impl Behaviour {
    pub(crate) fn new(
        key: &Keypair,
        names: &Names,
        relay_client: relay::client::Behaviour,
        options: Options,
    ) -> Result<Self, OpenError> {
        let peer = key.public().to_peer_id();
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(32))
            .with_max_pending_outgoing(Some(32))
            .with_max_established_incoming(Some(128))
            .with_max_established_outgoing(Some(64))
            .with_max_established_per_peer(Some(4));
        let pull = request_response::Config::default()
            .with_request_timeout(Duration::from_secs(10))
            .with_max_concurrent_streams(64);
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            memory: options.memory_limit.map_or_else(
                || memory_connection_limits::Behaviour::with_max_percentage(0.9),
                memory_connection_limits::Behaviour::with_max_bytes,
            ),
            ip_limits: IpLimits::default(),
            blocked: allow_block_list::Behaviour::default(),
            gossip: gossip(names)?,
            kad: kademlia(peer, names)?,
            identify: identify::Behaviour::new(
                identify::Config::new(names.version.clone(), key.public())
                    .with_agent_version(concat!("rlswarm/", env!("CARGO_PKG_VERSION")).to_owned())
                    .with_push_listen_addr_updates(true)
                    .with_cache_size(0),
            ),
            ping: ping::Behaviour::default(),
            pull: request_response::Behaviour::new(
                [(protocol(names.pull.clone())?, ProtocolSupport::Full)],
                pull,
            ),
            relay_client,
            relay: options.relay.then(|| relay_server(peer)).into(),
            hole_punch: dcutr::Behaviour::new(peer),
            candidates: Candidates::default(),
            dial_back: options
                .dial_back
                .then(autonat::v2::server::Behaviour::default)
                .into(),
            upnp: options.upnp.then(upnp::tokio::Behaviour::default).into(),
            // A network without multicast is no reason not to start.
            mdns: options
                .mdns
                .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer).ok())
                .flatten()
                .into(),
        })
    }
}

/// A relay for a swarm's own nodes: room enough for the records of a node that can't punch a hole,
/// and an end to what one peer may take.
fn relay_server(peer: PeerId) -> relay::Behaviour {
    let often = |limit: u32| NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
    let minute = Duration::from_secs(60);
    let config = relay::Config {
        max_reservations: 128,
        max_reservations_per_peer: 4,
        reservation_duration: Duration::from_secs(3600),
        reservation_rate_limiters: Vec::new(),
        max_circuits: 256,
        max_circuits_per_peer: 32,
        max_circuit_duration: Duration::from_secs(3600),
        max_circuit_bytes: 64 << 20,
        circuit_src_rate_limiters: Vec::new(),
    }
    .reservation_rate_per_peer(often(30), minute)
    .reservation_rate_per_ip(often(60), minute)
    .circuit_src_per_peer(often(60), minute / 4)
    .circuit_src_per_ip(often(120), minute / 8);
    let mut relay = relay::Behaviour::new(peer, config);
    // By itself it offers the service only once an external address is confirmed.
    relay.set_status(Some(relay::Status::Enable));
    relay
}

fn setup(what: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError::Network(format!("can't set up {what}: {error}"))
}

fn protocol(name: String) -> Result<StreamProtocol, OpenError> {
    StreamProtocol::try_from_owned(name).map_err(|error| setup("a protocol", error))
}

/// A message is named by its topic and bytes alone, so that every node names it alike.
fn message_id(message: &gossipsub::Message) -> MessageId {
    let mut hasher = blake3::Hasher::new();
    let topic = message.topic.as_str().as_bytes();
    hasher.update(&(topic.len() as u64).to_le_bytes());
    hasher.update(topic);
    hasher.update(&message.data);
    MessageId::new(&hasher.finalize().as_bytes()[..20])
}

/// How gossipsub is set, for messages of at most so many bytes.
pub fn gossip_config(max_message: usize) -> gossipsub::ConfigBuilder {
    let mut config = gossipsub::ConfigBuilder::default();
    config
        // Headers carry a signature of their own, which is checked once, after duplicates are
        // dropped, instead of for each copy.
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .heartbeat_interval(Duration::from_secs(1))
        .mesh_n(6)
        .mesh_n_low(4)
        .mesh_n_high(12)
        .mesh_outbound_min(2)
        .flood_publish(true)
        .history_length(6)
        .duplicate_cache_time(Duration::from_secs(60))
        .max_transmit_size(max_message + FRAME_MARGIN)
        .connection_handler_queue_len(QUEUE)
        // What waits that long is lost without a word; the queue's length is the real limit.
        .publish_queue_duration(Duration::from_secs(60))
        .forward_queue_duration(Duration::from_secs(30));
    config
}

fn gossip(names: &Names) -> Result<Gossip, OpenError> {
    let config = gossip_config(rlswarm_proto::wire::MAX_GOSSIP)
        .build()
        .map_err(|error| setup("gossip", error))?;
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(HashSet::from([
            names.records.hash(),
            names.reveals.hash(),
        ])),
        max_subscribed_topics: 4,
        max_subscriptions_per_request: 8,
    };
    let mut gossip = Gossip::new_with_subscription_filter_and_transform(
        MessageAuthenticity::Anonymous,
        config,
        filter,
        gossipsub::IdentityTransform,
    )
    .map_err(|error| setup("gossip", error))?;
    let (params, thresholds) = scoring(names);
    gossip
        .with_peer_score(params, thresholds)
        .map_err(|error| setup("peer scores", error))?;
    for topic in [&names.records, &names.reveals] {
        gossip
            .subscribe(topic)
            .map_err(|error| setup("gossip", error))?;
    }
    Ok(gossip)
}

fn kademlia(peer: PeerId, names: &Names) -> Result<kad::Behaviour<MemoryStore>, OpenError> {
    let mut config = kad::Config::new(protocol(names.kad.clone())?);
    config
        .set_query_timeout(Duration::from_secs(15))
        .set_max_packet_size(8 << 10)
        // Records and providers are not used: what peers try to leave here is dropped.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_periodic_bootstrap_interval(None);
    let store = MemoryStore::with_config(
        peer,
        MemoryStoreConfig {
            max_records: 0,
            max_provided_keys: 0,
            ..MemoryStoreConfig::default()
        },
    );
    let mut kad = kad::Behaviour::with_config(peer, store, config);
    // By itself it serves only once an external address is confirmed, which no node has on a LAN.
    kad.set_mode(Some(kad::Mode::Server));
    Ok(kad)
}
