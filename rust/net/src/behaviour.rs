//! The libp2p protocols that a node speaks, and how they are set.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, IdentTopic, MaxCountSubscriptionFilter, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, identify, kad, memory_connection_limits, ping};
use rlswarm_proto::Hash;

use crate::codec::Codec;
use crate::error::OpenError;

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
    pub(crate) gossip: Gossip,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) pull: request_response::Behaviour<Codec>,
}

impl Behaviour {
    pub(crate) fn new(key: &Keypair, names: &Names) -> Result<Self, OpenError> {
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
            memory: memory_connection_limits::Behaviour::with_max_percentage(0.9),
            gossip: gossip(names)?,
            kad: kademlia(peer, names)?,
            identify: identify::Behaviour::new(
                identify::Config::new(names.version.clone(), key.public())
                    .with_agent_version(concat!("rlswarm/", env!("CARGO_PKG_VERSION")).to_owned())
                    .with_cache_size(0),
            ),
            ping: ping::Behaviour::default(),
            pull: request_response::Behaviour::new(
                [(protocol(names.pull.clone())?, ProtocolSupport::Full)],
                pull,
            ),
        })
    }
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

/// Without scores gossipsub's defences don't run. P3 (mesh delivery rate) is off: it would punish
/// honest peers on a quiet topic. Five invalid messages within half an hour graylist a peer.
fn scoring(names: &Names) -> (PeerScoreParams, PeerScoreThresholds) {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 10.0 / 3600.0,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 3600.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: 0.99,
        first_message_deliveries_cap: 400.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -100.0,
        invalid_message_deliveries_decay: 0.975,
        ..TopicScoreParams::default()
    };
    let params = PeerScoreParams {
        topics: [&names.records, &names.reveals]
            .map(|name| (name.hash(), topic.clone()))
            .into(),
        topic_score_cap: 50.0,
        ip_colocation_factor_weight: -25.0,
        ip_colocation_factor_threshold: 8.0,
        // A whole swarm on one machine is a use of its own.
        ip_colocation_factor_whitelist: HashSet::from([
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]),
        behaviour_penalty_weight: -20.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: 0.925,
        decay_interval: Duration::from_secs(10),
        decay_to_zero: 0.01,
        retain_score: Duration::from_secs(3600),
        // A slow laptop is welcome.
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds {
        gossip_threshold: -500.0,
        publish_threshold: -1000.0,
        graylist_threshold: -2500.0,
        accept_px_threshold: 100.0,
        opportunistic_graft_threshold: 5.0,
    };
    (params, thresholds)
}

fn kademlia(peer: libp2p::PeerId, names: &Names) -> Result<kad::Behaviour<MemoryStore>, OpenError> {
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
