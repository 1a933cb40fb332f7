"""How a node reaches its peers: one `Transport` interface, libp2p and in-memory behind it."""
