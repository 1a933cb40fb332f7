//! TCP with names, noise and yamux.

use std::sync::Arc;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, dns, noise, tcp, yamux};

use crate::counters::Counters;
use crate::error::OpenError;
use crate::traffic::Counted;

/// How long a connection may take to be set up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Build the transport. Must be called inside a tokio runtime.
pub(crate) fn build(
    key: &Keypair,
    counters: &Arc<Counters>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, OpenError> {
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    // Without a resolver configuration, addresses with numbers still work.
    let named = dns::tokio::Transport::system(tcp()).unwrap_or_else(|_| {
        dns::tokio::Transport::custom(
            tcp(),
            dns::ResolverConfig::default(),
            dns::ResolverOpts::default(),
        )
    });
    let noise = noise::Config::new(key)
        .map_err(|error| OpenError::Network(format!("can't set up encryption: {error}")))?;
    let counters = Arc::clone(counters);
    Ok(named
        .map(move |stream, _| Counted {
            stream,
            counters: Arc::clone(&counters),
        })
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .timeout(CONNECT_TIMEOUT)
        .boxed())
}
