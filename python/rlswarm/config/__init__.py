"""What a swarm agreed on (the manifest) and where this machine keeps its files."""
