//! How peers are scored by gossipsub.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libp2p::gossipsub::{PeerScoreParams, PeerScoreThresholds, TopicScoreParams};

use crate::behaviour::Names;

/// The range of the score that the application may give a peer: as much good as the good that
/// gossip itself can earn, as much harm as silences a peer.
pub(crate) const STANDING: std::ops::RangeInclusive<f64> = -3000.0..=100.0;

/// Without scores gossipsub's defences don't run. P3 (mesh delivery rate) is off: it would punish
/// honest peers on a quiet topic. Five invalid messages within half an hour graylist a peer.
pub(crate) fn scoring(names: &Names) -> (PeerScoreParams, PeerScoreThresholds) {
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
        // The application's word (P5): the peer's standing, see `Endpoint::set_standing`.
        app_specific_weight: 1.0,
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
        // A slow laptop is welcome; one that doesn't read at all is seen to in `slow`.
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
