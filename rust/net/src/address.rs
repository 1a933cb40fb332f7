//! Multiaddresses from text, with errors that say what is wrong in one sentence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// The longest address of a peer that is kept, in bytes.
const MAX_BYTES: usize = 256;

fn parse(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|error| {
        format!("'{text}' is not a multiaddress such as /ip4/127.0.0.1/tcp/4001 ({error})")
    })
}

/// An address to listen on: an IP address with TCP, or with QUIC unless the swarm is `private`.
pub(crate) fn listen(text: &str, private: bool) -> Result<Multiaddr, String> {
    let address = parse(text)?;
    let parts: Vec<_> = address.iter().collect();
    match parts.as_slice() {
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)] => Ok(address),
        [
            Protocol::Ip4(_) | Protocol::Ip6(_),
            Protocol::Udp(_),
            Protocol::QuicV1,
        ] => only_public(text, private).map(|()| address),
        _ => Err(format!(
            "'{text}' can't be listened on: /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1 \
             wanted, or the same with ip6"
        )),
    }
}

fn only_public(text: &str, private: bool) -> Result<(), String> {
    if private {
        return Err(format!(
            "'{text}' can't be used: a private swarm speaks TCP only, as its key doesn't cover QUIC"
        ));
    }
    Ok(())
}

/// The TCP or UDP socket that a listen address stands for; whether it is UDP.
pub(crate) fn socket(address: &Multiaddr) -> Option<(SocketAddr, bool)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some((SocketAddr::new(ip, port), false)),
        Protocol::Udp(port) => Some((SocketAddr::new(ip, port), true)),
        _ => None,
    }
}

/// An address to dial, and the peer that must answer, if it is named.
pub(crate) fn dial(text: &str, private: bool) -> Result<(Multiaddr, Option<PeerId>), String> {
    let address = parse(text)?;
    if address
        .iter()
        .any(|part| matches!(part, Protocol::QuicV1 | Protocol::Quic))
    {
        only_public(text, private)?;
    }
    match dialable(&address) {
        Some(peer) => Ok((address, peer)),
        None => Err(format!(
            "'{text}' can't be dialled: /ip4/ADDRESS/tcp/PORT, /ip4/ADDRESS/udp/PORT/quic-v1, the \
             same with ip6, dns, dns4 or dns6, or /dnsaddr/NAME wanted, with /p2p/PEERID after it \
             or not, or through a relay with …/p2p/RELAY/p2p-circuit/p2p/PEERID"
        )),
    }
}

/// Whether an address can be dialled, and whom it names.
fn dialable(address: &Multiaddr) -> Option<Option<PeerId>> {
    let parts: Vec<_> = address.iter().collect();
    let rest = match parts.as_slice() {
        [Protocol::Dnsaddr(_), rest @ ..] => rest,
        [host, Protocol::Tcp(port), rest @ ..] if is_host(host) && *port != 0 => rest,
        [host, Protocol::Udp(port), Protocol::QuicV1, rest @ ..] if is_host(host) && *port != 0 => {
            rest
        }
        _ => return None,
    };
    match rest {
        [] => Some(None),
        [Protocol::P2p(peer)] => Some(Some(*peer)),
        [Protocol::P2p(_), Protocol::P2pCircuit, Protocol::P2p(peer)] => Some(Some(*peer)),
        _ => None,
    }
}

fn is_host(part: &Protocol<'_>) -> bool {
    match part {
        Protocol::Ip4(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        Protocol::Ip6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) => true,
        _ => false,
    }
}

/// What somebody says about `peer`'s address, with the peer's id at its end; `None` if it is of no
/// use. Addresses of the own machine are taken only if `local`, those of QUIC only if not `private`.
pub(crate) fn of_peer(
    address: &Multiaddr,
    peer: PeerId,
    local: bool,
    private: bool,
) -> Option<Multiaddr> {
    if address.len() > MAX_BYTES || (is_loopback(address) && !local) || is_link_local(address) {
        return None;
    }
    if private && address.iter().any(|part| part == Protocol::QuicV1) {
        return None;
    }
    let address = address.clone().with_p2p(peer).ok()?;
    (dialable(&address)? == Some(peer)).then_some(address)
}

/// The IP address that is dialled first.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
        Some(Protocol::Ip6(ip)) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// Whether an address leads only to the machine that it is used on.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Whether an address has a meaning only together with the interface that it is reached by.
fn is_link_local(address: &Multiaddr) -> bool {
    matches!(ip(address), Some(IpAddr::V6(ip)) if ip.is_unicast_link_local())
}

/// Whether an address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// How far an address carries, the farthest first: everywhere, everywhere through a relay, or only
/// inside some network.
pub(crate) fn distance(address: &Multiaddr) -> u8 {
    match (is_relayed(address), ip(address)) {
        (true, _) => 1,
        (false, Some(_)) if !is_global(address) => 2,
        (false, _) => 0,
    }
}

/// Whether an address is one that the whole internet could reach, were nothing in the way.
pub(crate) fn is_global(address: &Multiaddr) -> bool {
    match ip(address) {
        Some(IpAddr::V4(ip)) => is_global_v4(ip),
        Some(IpAddr::V6(ip)) => is_global_v6(ip),
        None => false,
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && (64..128).contains(&second);
    !(ip.is_private()
        || shared
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || first == 0)
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || ip.to_ipv4_mapped().is_some())
}

/// Whether an address stands for all of the machine's IPv6 addresses.
pub(crate) fn is_any_v6(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified())
}

/// The address without the peer's id at its end.
pub(crate) fn without_peer(mut address: Multiaddr, peer: PeerId) -> Multiaddr {
    if address.iter().last() == Some(Protocol::P2p(peer)) {
        address.pop();
    }
    address
}

/// The address with the peer's id at its end.
pub(crate) fn with_peer(address: Multiaddr, peer: PeerId) -> Multiaddr {
    match address.with_p2p(peer) {
        Ok(address) | Err(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn listens_on_what_can_be_bound_and_nothing_else() {
        for text in ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/4001"] {
            assert!(listen(text, true).is_ok(), "{text}");
        }
        let quic = "/ip4/0.0.0.0/udp/0/quic-v1";
        assert!(listen(quic, false).is_ok());
        assert!(listen(quic, true).unwrap_err().contains("TCP only"));
        for text in ["", "nonsense", "/ip4/1.2.3.4", "/ip4/1.2.3.4/udp/1"] {
            assert!(listen(text, false).is_err(), "{text}");
            assert!(dial(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn dials_what_can_be_reached_and_nothing_else() {
        for text in [
            "/dns4/example.org/tcp/4001",
            "/dns6/example.org/udp/4001/quic-v1",
            "/dnsaddr/example.org",
            "/ip4/1.2.3.4/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit",
        ] {
            let named = format!("{text}/p2p/{PEER}");
            let (_, peer) = dial(&named, false).unwrap();
            assert_eq!(peer, Some(PEER.parse().unwrap()), "{text}");
        }
        assert!(dial("/ip4/127.0.0.1/tcp/0", false).is_err());
        assert!(dial("/ip4/0.0.0.0/tcp/1", false).is_err());
        assert!(dial("/ip4/1.2.3.4/udp/1/quic-v1", true).is_err());
    }

    #[test]
    fn what_others_say_of_a_peer_is_checked() {
        let peer: PeerId = PEER.parse().unwrap();
        let of = |text: &str, local| of_peer(&text.parse().unwrap(), peer, local, false);
        let full = format!("/ip4/1.2.3.4/tcp/9/p2p/{peer}");
        assert_eq!(of("/ip4/1.2.3.4/tcp/9", false).unwrap().to_string(), full);
        assert_eq!(of(&full, false).unwrap().to_string(), full);
        let other = PeerId::random();
        assert!(of(&format!("/ip4/1.2.3.4/tcp/9/p2p/{other}"), false).is_none());
        assert!(of("/ip4/127.0.0.1/tcp/9", false).is_none());
        assert!(of("/ip4/127.0.0.1/tcp/9", true).is_some());
        assert!(of(&format!("/dns4/{}/tcp/9", "x".repeat(300)), false).is_none());
        assert!(
            of_peer(
                &"/ip4/1.2.3.4/udp/9/quic-v1".parse().unwrap(),
                peer,
                true,
                true
            )
            .is_none()
        );
    }

    #[test]
    fn global_addresses() {
        let global = |text: &str| is_global(&text.parse().unwrap());
        assert!(global("/ip4/8.8.8.8/tcp/1"));
        assert!(global("/ip6/2001:4860::1/tcp/1"));
        for text in [
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/::1/tcp/1",
            "/dns4/example.org/tcp/1",
        ] {
            assert!(!global(text), "{text}");
        }
    }
}
