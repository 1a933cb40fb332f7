"""The learning rule as pure functions: which groups, how much each token counts, and why not."""
