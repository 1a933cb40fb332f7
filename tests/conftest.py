"""Puts this folder on the import path: ``from tiny_model import make_tiny_model``."""
