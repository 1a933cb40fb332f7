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
}
