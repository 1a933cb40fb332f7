"""The append-only memory of a node: what came in, what was decided, what came out."""
