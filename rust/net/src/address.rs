//! Multiaddresses from text, with errors that say what is wrong in one sentence.

use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

fn parse(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|error| {
        format!("'{text}' is not a multiaddress such as /ip4/127.0.0.1/tcp/4001 ({error})")
    })
}

/// An address to listen on: `/ip4/…/tcp/…` or `/ip6/…/tcp/…`.
pub(crate) fn listen(text: &str) -> Result<Multiaddr, String> {
    let address = parse(text)?;
    let parts: Vec<_> = address.iter().collect();
    match parts.as_slice() {
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)] => Ok(address),
        _ => Err(format!(
            "'{text}' can't be listened on: /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT wanted"
        )),
    }
}

/// The socket address that a listen address stands for.
pub(crate) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// An address to dial, and the peer that must answer, if it is named.
pub(crate) fn dial(text: &str) -> Result<(Multiaddr, Option<PeerId>), String> {
    let address = parse(text)?;
    let parts: Vec<_> = address.iter().collect();
    let peer = match parts.as_slice() {
        [
            Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Dns(_)
            | Protocol::Dns4(_)
            | Protocol::Dns6(_),
            Protocol::Tcp(port),
            rest @ ..,
        ] if *port != 0 => match rest {
            [] => Some(None),
            [Protocol::P2p(peer)] => Some(Some(*peer)),
            _ => None,
        },
        _ => None,
    };
    peer.map(|peer| (address, peer)).ok_or_else(|| {
        format!(
            "'{text}' can't be dialled: /ip4/ADDRESS/tcp/PORT or /dns/NAME/tcp/PORT wanted, with \
             /p2p/PEERID after it or not"
        )
    })
}

/// Whether an address leads only to the machine that it is used on.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        _ => false,
    }
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

    #[test]
    fn takes_what_can_be_used_and_nothing_else() {
        for text in ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/4001"] {
            assert!(listen(text).is_ok(), "{text}");
        }
        for text in ["", "nonsense", "/ip4/1.2.3.4", "/ip4/1.2.3.4/udp/1/quic-v1"] {
            assert!(listen(text).is_err(), "{text}");
            assert!(dial(text).is_err(), "{text}");
        }
        assert!(dial("/ip4/127.0.0.1/tcp/0").is_err());
        let peer = PeerId::random();
        let (_, named) = dial(&format!("/dns4/example.org/tcp/4001/p2p/{peer}")).unwrap();
        assert_eq!(named, Some(peer));
    }
}
