"""The same node on a seeded, virtual world: clock, medium and a policy that costs nothing."""
