//! A hostile peer with protocols of its own making, against an endpoint.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder, identify, noise, tcp, yamux};
use rlswarm_net::{Config, Endpoint, Event, What};
use rlswarm_proto::admission::Rules;
use rlswarm_proto::body::{Record, seal};
use rlswarm_proto::header::Fields;
use rlswarm_proto::identity::Identity;
use rlswarm_proto::kind::Kind;
use rlswarm_proto::wire;

const SWARM: [u8; 32] = [7; 32];
const DEADLINE: Duration = Duration::from_secs(45);

fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(elapsed.expect("after 1970").as_millis()).expect("fits")
}

fn open(seed: u8, peers: Vec<String>) -> Endpoint {
    let rules = Rules {
        swarm: SWARM,
        genesis_ms: now_ms() - 1000,
        round_ms: 600_000,
        staleness_rounds: 4,
        clock_offset_ms: 5000,
        max_body_stored: 4 << 20,
        max_body_raw: 16 << 20,
        author_quota: 16 << 20,
    };
    let config = Config {
        peers,
        ..Config::new(rules)
    };
    Endpoint::open(&Identity::from_seed(&[seed; 32]), config, None).expect("opens")
}

fn record(seed: u8, sequence: u64, kind: Kind, body: &[u8], swarm: [u8; 32]) -> Record {
    let fields = Fields {
        swarm,
        kind,
        round: 0,
        lottery_root: [0; 32],
        stage: 0,
        slots: vec![],
        author: [0; 32],
        sequence,
        created_at_ms: now_ms(),
        base: [0; 32],
        adapter: [0; 32],
        persona: String::new(),
        body_stored: 0,
        body_raw: 0,
        body_hash: [0; 32],
    };
    seal(&Identity::from_seed(&[seed; 32]), fields, body).expect("fields in range")
}

/// Writes whatever bytes it is given, and reads none.
#[derive(Clone, Default)]
struct Raw;

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: futures::AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        futures::AsyncReadExt::read_to_end(io, &mut bytes).await?;
        Ok(bytes)
    }

    async fn read_response<T>(&mut self, p: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: futures::AsyncRead + Unpin + Send,
    {
        self.read_request(p, io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> std::io::Result<()>
    where
        T: futures::AsyncWrite + Unpin + Send,
    {
        futures::AsyncWriteExt::write_all(io, &bytes).await?;
        futures::AsyncWriteExt::close(io).await
    }

    async fn write_response<T>(
        &mut self,
        p: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> std::io::Result<()>
    where
        T: futures::AsyncWrite + Unpin + Send,
    {
        self.write_request(p, io, bytes).await
    }
}

#[derive(NetworkBehaviour)]
struct Hostile {
    gossip: gossipsub::Behaviour,
    identify: identify::Behaviour,
    pull: request_response::Behaviour<Raw>,
}

fn hex() -> String {
    SWARM.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hostile() -> Swarm<Hostile> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .expect("a transport")
        .with_behaviour(|key: &Keypair| {
            let config = gossipsub::ConfigBuilder::default()
                .validation_mode(ValidationMode::Anonymous)
                .message_id_fn(|message| {
                    gossipsub::MessageId::new(blake3::hash(&message.data).as_bytes())
                })
                .heartbeat_initial_delay(Duration::from_millis(100))
                .max_transmit_size(1 << 20)
                .build()
                .expect("a configuration");
            let pull = StreamProtocol::try_from_owned(format!("/rlswarm/{}/pull/1", hex()));
            Hostile {
                gossip: gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config)
                    .expect("gossip"),
                identify: identify::Behaviour::new(identify::Config::new(
                    format!("/rlswarm/{}/1", hex()),
                    key.public(),
                )),
                pull: request_response::Behaviour::new(
                    [(pull.expect("a protocol"), ProtocolSupport::Full)],
                    request_response::Config::default(),
                ),
            }
        })
        .expect("a behaviour")
        .build()
}

async fn until(
    swarm: &mut Swarm<Hostile>,
    what: &str,
    mut done: impl FnMut(&mut Swarm<Hostile>) -> bool,
) {
    let deadline = Instant::now() + DEADLINE;
    while !done(swarm) {
        assert!(Instant::now() < deadline, "timed out: {what}");
        let next = swarm.select_next_some();
        let _ = tokio::time::timeout(Duration::from_millis(20), next).await;
    }
}

fn count(endpoint: &Endpoint, name: &str) -> u64 {
    let all = endpoint.statistics();
    all.iter()
        .find(|(key, _)| *key == name)
        .map_or(0, |(_, value)| *value)
}

fn records_in(events: &[Event]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event.what, What::Header { .. } | What::Body { .. }))
        .count()
}

/// Attack with messages on a topic until all were judged, from a fresh peer: five invalid messages
/// are enough for a peer to be heard no more.
async fn attack(victim: &Endpoint, topic: &str, messages: Vec<Vec<u8>>, garbage: Vec<Vec<u8>>) {
    let mut swarm = hostile();
    let address: Multiaddr = victim.addresses()[0].parse().expect("an address");
    let peer = victim.peer_id().parse().expect("a peer id");
    let topic = IdentTopic::new(format!("/rlswarm/{}/1/{topic}", hex()));
    swarm.dial(address).expect("dials");
    until(&mut swarm, "the victim to subscribe", |swarm| {
        swarm
            .behaviour()
            .gossip
            .all_peers()
            .any(|(_, topics)| topics.contains(&&topic.hash()))
    })
    .await;
    for bytes in garbage {
        swarm.behaviour_mut().pull.send_request(&peer, bytes);
    }
    let before = count(victim, "rejected");
    let sent = messages.len() as u64;
    for message in messages {
        swarm
            .behaviour_mut()
            .gossip
            .publish(topic.clone(), message)
            .expect("publishes");
    }
    until(&mut swarm, "all to be rejected", |_| {
        count(victim, "rejected") >= before + sent
    })
    .await;
}

fn announcement(record: &Record, body: Option<&[u8]>) -> Vec<u8> {
    wire::encode_announcement(0, &record.header, body)
}

#[test]
fn nothing_hostile_gets_in_and_honest_peers_are_still_served() {
    let victim = open(1, vec![]);
    let honest = open(2, vec![victim.addresses()[0].clone()]);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(besiege(&victim, &honest));
    victim.close();
    honest.close();
}

async fn besiege(victim: &Endpoint, honest: &Endpoint) {
    let small = record(9, 1, Kind::Status, b"small", SWARM);
    let mut forged = announcement(&small, Some(&small.stored));
    let signature_end = forged.len() - small.stored.len() - 1;
    forged[signature_end] ^= 1;
    let foreign = record(9, 2, Kind::Status, b"small", [8; 32]);
    let sealed = record(9, 3, Kind::Rollouts, b"not yet", SWARM);
    let large = record(9, 4, Kind::Status, &vec![0; 17 << 20], SWARM);
    let garbage = vec![vec![], vec![1], vec![3; 33], vec![0xff; 100_000]];
    attack(
        victim,
        "records",
        vec![
            vec![0xaa; 400],
            forged,
            announcement(&foreign, Some(&foreign.stored)),
            announcement(&sealed, Some(&sealed.stored)),
        ],
        garbage,
    )
    .await;
    attack(
        victim,
        "records",
        vec![
            vec![],
            announcement(&small, Some(&vec![1; small.stored.len()])),
            announcement(&small, None),
            announcement(&large, Some(&large.stored)),
        ],
        vec![],
    )
    .await;
    attack(
        victim,
        "reveals",
        vec![vec![0; 20], vec![0; 33 + wire::MAX_INLINE + 1]],
        vec![],
    )
    .await;

    // A frame over the limit never becomes a message, and costs its sender the stream.
    let mut swarm = hostile();
    let address: Multiaddr = victim.addresses()[0].parse().expect("an address");
    swarm.dial(address).expect("dials");
    let topic = IdentTopic::new(format!("/rlswarm/{}/1/records", hex()));
    until(&mut swarm, "the oversized frame to be sent", |swarm| {
        let gossip = &mut swarm.behaviour_mut().gossip;
        gossip.publish(topic.clone(), vec![0; 500_000]).is_ok()
    })
    .await;

    assert_eq!(records_in(&victim.drain(1000, 1 << 20).expect("open")), 0);
    let wanted = record(2, 1, Kind::Status, b"honest", SWARM);
    honest.announce(wanted).expect("announced");
    let mut seen = 0;
    until(&mut swarm, "the honest record", |_| {
        seen += records_in(&victim.drain(1000, 1 << 20).expect("open"));
        seen == 2
    })
    .await;
}
