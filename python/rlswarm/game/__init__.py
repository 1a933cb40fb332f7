"""The game: stages as data, tasks from seeds, prompts that receivers rebuild, rewards from truth.

Everything here is a pure function of explicit inputs.
"""
