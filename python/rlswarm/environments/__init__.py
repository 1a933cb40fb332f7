"""Tasks and their exact scores: pure, seeded, the same on every machine."""
