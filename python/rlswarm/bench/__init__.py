"""Benchmarks that ``rlswarm bench`` runs, and the one format of their results."""
