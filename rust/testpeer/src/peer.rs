//! The swarm, and what it is told to do.

use base64::prelude::{BASE64_STANDARD, Engine};
use futures::StreamExt;
use libp2p::gossipsub::{
    self, AllowAllSubscriptionFilter, IdentTopic, IdentityTransform, MessageAcceptance,
    MessageAuthenticity,
};
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::forge::forge;
use crate::streams::Streams;
use crate::{Options, say};

#[derive(NetworkBehaviour)]
struct Behaviour {
    streams: libp2p_stream::Behaviour,
    gossip: Toggle<gossipsub::Behaviour<IdentityTransform, AllowAllSubscriptionFilter>>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

fn behaviour(key: &Keypair, options: &Options) -> Behaviour {
    let gossip = (!options.topics.is_empty()).then(|| {
        let config = rlswarm_net::gossip_config(options.max_message)
            .build()
            .expect("a configuration");
        let mut gossip =
            gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config).expect("gossip");
        for topic in &options.topics {
            gossip.subscribe(&IdentTopic::new(topic)).expect("a topic");
        }
        gossip
    });
    Behaviour {
        streams: libp2p_stream::Behaviour::new(),
        gossip: gossip.into(),
        identify: identify::Behaviour::new(
            identify::Config::new(options.version.clone(), key.public())
                .with_agent_version("rlswarm-testpeer".to_owned()),
        ),
        ping: ping::Behaviour::default(),
    }
}

fn swarm(options: &Options) -> Swarm<Behaviour> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .expect("a transport")
        .with_behaviour(|key: &Keypair| behaviour(key, options))
        .expect("a behaviour")
        .with_swarm_config(|config| {
            config.with_idle_connection_timeout(std::time::Duration::from_secs(600))
        })
        .build();
    swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address"))
        .expect("listens");
    swarm
}

/// Work until the commands end.
pub(crate) async fn run(options: Options, mut commands: UnboundedReceiver<Value>) {
    let mut swarm = swarm(&options);
    let mut streams = Streams::new(swarm.behaviour().streams.new_control(), &options.accept);
    let mut received = 0_u64;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => obey(&mut swarm, &mut streams, received, &command),
                None => return,
            },
            event = swarm.select_next_some() => show(&mut swarm, &mut received, event),
        }
    }
}

fn text<'a>(command: &'a Value, key: &str) -> &'a str {
    command[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key}: text wanted"))
}

fn obey(swarm: &mut Swarm<Behaviour>, streams: &mut Streams, received: u64, command: &Value) {
    let topic = || IdentTopic::new(text(command, "topic"));
    match text(command, "do") {
        "dial" => {
            let address: Multiaddr = text(command, "address").parse().expect("an address");
            if let Err(error) = swarm.dial(address) {
                say("failed", json!({"do": "dial", "why": error.to_string()}));
            }
        }
        "publish" => {
            let data = BASE64_STANDARD
                .decode(text(command, "data"))
                .expect("base64");
            let gossip = swarm.behaviour_mut().gossip.as_mut().expect("a topic");
            if let Err(error) = gossip.publish(topic(), data) {
                say("failed", json!({"do": "publish", "why": error.to_string()}));
            }
        }
        "subscribers" => {
            let gossip = swarm.behaviour().gossip.as_ref().expect("a topic");
            let topic = topic().hash();
            let count = gossip
                .all_peers()
                .filter(|(_, topics)| topics.contains(&&topic))
                .count();
            say("subscribers", json!({"count": count}));
        }
        "forge" => forge(command),
        "count" => say("count", json!({"count": received})),
        _ => streams.obey(command),
    }
}

fn show(swarm: &mut Swarm<Behaviour>, received: &mut u64, event: SwarmEvent<BehaviourEvent>) {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => {
            let peer = *swarm.local_peer_id();
            let address = address.with_p2p(peer).expect("no other peer").to_string();
            say(
                "ready",
                json!({"peer": peer.to_string(), "addresses": [address]}),
            );
        }
        SwarmEvent::ConnectionClosed {
            peer_id,
            num_established: 0,
            ..
        } => {
            say("left", json!({"peer": peer_id.to_string()}));
        }
        SwarmEvent::OutgoingConnectionError { error, .. } => {
            say("failed", json!({"do": "dial", "why": error.to_string()}));
        }
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
            peer_id,
            info,
            ..
        })) => say(
            "identified",
            json!({"peer": peer_id.to_string(), "agent": info.agent_version}),
        ),
        SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
            propagation_source,
            message_id,
            message,
        })) => {
            *received += 1;
            let gossip = swarm.behaviour_mut().gossip.as_mut().expect("a topic");
            gossip.report_message_validation_result(
                &message_id,
                &propagation_source,
                MessageAcceptance::Accept,
            );
            let id: String = message_id
                .0
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let data = BASE64_STANDARD.encode(&message.data);
            say(
                "message",
                json!({"topic": message.topic.as_str(), "id": id, "data": data}),
            );
        }
        _ => {}
    }
}
