//! How bytes travel: TCP and QUIC, with names, directly or through a relay.
//!
//! In a private swarm TCP is wrapped in the swarm's key before anything else is said. QUIC has no
//! such wrapping and stays off.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use either::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::{PeerId, Transport, dns, noise, quic, relay, tcp, yamux};

use crate::counters::Counters;
use crate::error::OpenError;
use crate::traffic::{Counted, CountedMuxer};

/// How long a connection may take to be set up: less than the ten seconds in which a peer that tests
/// an address must answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(7);
/// Streams that may be open over one connection.
const MAX_STREAMS: u16 = 256;

type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// Read the text of a `swarm.key` file.
pub(crate) fn swarm_key(text: &str) -> Result<PreSharedKey, OpenError> {
    PreSharedKey::from_str(text).map_err(|error| {
        let shape = "three lines wanted: /key/swarm/psk/1.0.0/, /base16/ and 64 hexadecimal digits";
        OpenError::SwarmKey(format!("{error}; {shape}"))
    })
}

/// Build the transport, and the behaviour that works its relayed part. Must be called inside a
/// tokio runtime.
pub(crate) fn build(
    key: &Keypair,
    swarm_key: Option<PreSharedKey>,
    counters: &Arc<Counters>,
) -> Result<(Connections, relay::client::Behaviour), OpenError> {
    let direct = || {
        let tcp = tcp(key, swarm_key, counters)?;
        // QUIC has no place for the swarm's key.
        if swarm_key.is_some() {
            return Ok(tcp);
        }
        let both = tcp.or_transport(quic(key, counters));
        Ok(both.map(|either, _| either.into_inner()).boxed())
    };
    let (relay, behaviour) = relay::client::new(key.public().to_peer_id());
    let relayed = relay
        .upgrade(Version::V1Lazy)
        .authenticate(encryption(key)?)
        .multiplex(streams())
        .timeout(CONNECT_TIMEOUT)
        .boxed();
    let all = relayed
        .or_transport(named(direct)?)
        .map(|either, _| either.into_inner())
        .boxed();
    Ok((all, behaviour))
}

fn tcp(
    key: &Keypair,
    swarm_key: Option<PreSharedKey>,
    counters: &Arc<Counters>,
) -> Result<Connections, OpenError> {
    let counters = Arc::clone(counters);
    let plain =
        tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)).map(move |stream, _| {
            Counted {
                stream,
                counters: Arc::clone(&counters),
            }
        });
    let wrapped = match swarm_key {
        None => Either::Left(plain),
        Some(key) => {
            Either::Right(plain.and_then(move |stream, _| PnetConfig::new(key).handshake(stream)))
        }
    };
    Ok(wrapped
        .upgrade(Version::V1Lazy)
        .authenticate(encryption(key)?)
        .multiplex(streams())
        .timeout(CONNECT_TIMEOUT)
        .boxed())
}

fn quic(key: &Keypair, counters: &Arc<Counters>) -> Connections {
    let mut config = quic::Config::new(key);
    config.handshake_timeout = CONNECT_TIMEOUT;
    config.max_concurrent_stream_limit = u32::from(MAX_STREAMS);
    let counters = Arc::clone(counters);
    quic::tokio::Transport::new(config)
        .map(move |(peer, muxer), _| {
            let counters = Arc::clone(&counters);
            (peer, StreamMuxerBox::new(CountedMuxer { muxer, counters }))
        })
        .boxed()
}

/// With names in addresses looked up. Without a resolver configuration, addresses with numbers still
/// work.
fn named(direct: impl Fn() -> Result<Connections, OpenError>) -> Result<Connections, OpenError> {
    if let Ok(named) = dns::tokio::Transport::system(direct()?) {
        return Ok(named.boxed());
    }
    let (config, options) = Default::default();
    Ok(dns::tokio::Transport::custom(direct()?, config, options).boxed())
}

fn encryption(key: &Keypair) -> Result<noise::Config, OpenError> {
    noise::Config::new(key)
        .map_err(|error| OpenError::Network(format!("can't set up encryption: {error}")))
}

fn streams() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(usize::from(MAX_STREAMS));
    config
}
