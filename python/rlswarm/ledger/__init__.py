"""The deterministic summary of a round: who did how much verified work."""
