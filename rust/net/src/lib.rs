//! The libp2p endpoint of rlswarm: headers by gossip, bodies by verified pull.
//!
//! One task owns the libp2p swarm and does nothing slow; one thread (the intake) checks what
//! arrived; one thread wakes the application. They meet in [`Endpoint`].

mod address;
mod behaviour;
mod book;
mod candidates;
mod catch_up;
mod clock;
mod codec;
mod config;
mod counters;
mod dialer;
mod endpoint;
mod error;
mod events;
mod fetch;
mod intake;
mod ip_limits;
mod node;
mod outbox;
mod peers;
mod reachability;
mod records;
mod scoring;
mod serve;
mod slow;
mod traffic;
mod transport;

pub use behaviour::gossip_config;
pub use config::Config;
pub use endpoint::Endpoint;
pub use error::{CommandError, OpenError};
pub use events::{Event, What};
pub use peers::Link;
pub use reachability::Verdict;

/// The release of `libp2p` that this is built on.
pub const LIBP2P_VERSION: &str = "0.57";

#[cfg(test)]
mod tests {
    #[test]
    fn the_libp2p_release_is_the_one_locked() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"libp2p\"\nversion = \"{}.", super::LIBP2P_VERSION);
        assert!(lock.contains(&entry));
    }
}
