"""The process that generates and scores tasks: no keys, no sockets, no model."""
