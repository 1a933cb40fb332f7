"""The process a person starts: clock, peers, journal and rounds; no torch, no environments."""
