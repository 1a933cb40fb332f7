//! What an endpoint is opened with.

use rlswarm_proto::admission::Rules;

/// Everything but the key.
#[derive(Debug, Clone)]
pub struct Config {
    /// The swarm's rules.
    pub rules: Rules,
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Multiaddresses of peers to stay connected to.
    pub peers: Vec<String>,
    /// Multiaddresses of peers met in an earlier run, the best first. Those of no use are skipped.
    pub known: Vec<String>,
    /// Addresses at which this node can be reached from anywhere, as its owner says.
    pub public_addresses: Vec<String>,
    /// The text of the `swarm.key` that all nodes of a private swarm share. TCP only.
    pub swarm_key: Option<String>,
    /// Pass on connections for nodes that can't be dialled.
    pub relay: bool,
    /// Look for peers on the local network by multicast DNS.
    pub mdns: bool,
    /// Ask the router to forward the port.
    pub upnp: bool,
    /// `PeerId`s that are never talked to.
    pub blocked: Vec<String>,
    /// Resident memory of the process, in bytes, above which no connection is taken on.
    pub memory_limit: Option<usize>,
}

impl Config {
    /// Listen on loopback and dial nobody.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            peers: Vec::new(),
            known: Vec::new(),
            public_addresses: Vec::new(),
            swarm_key: None,
            relay: false,
            mdns: false,
            upnp: false,
            blocked: Vec::new(),
            memory_limit: None,
        }
    }
}
