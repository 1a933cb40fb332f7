"""The tree's mask against what each sequence would see by itself."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlswarm.policy.prefix_tree import PrefixTree

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=6)


@settings(deadline=None)
@given(sequences=SEQUENCES, window=st.integers(0, 4), start=st.integers(0, 5))
def test_a_token_sees_its_own_beginning_and_nothing_else(
    sequences: list[list[int]], window: int, start: int
) -> None:
    tree = PrefixTree(torch.device("cpu"))
    paths = [tree.add(sequence) for sequence in sequences]
    size = len(tree)
    assert size <= sum(map(len, sequences))
    start = min(start, size - 1)
    seen = tree.mask(start, size, torch.float32, window)[0, 0] == 0
    positions = tree.positions(start)[0].tolist()
    for sequence, path in zip(sequences, paths, strict=True):
        assert [tree.ids[place] for place in path] == sequence
        for position, place in enumerate(path):
            if place >= start:
                oldest = max(0, position - window + 1) if window else 0
                assert seen[place - start].nonzero()[:, 0].tolist() == path[oldest : position + 1]
                assert positions[place - start] == position


def test_equal_beginnings_are_laid_out_once_and_every_end_anew() -> None:
    tree = PrefixTree(torch.device("cpu"))
    assert tree.add([5, 6, 7]) == [0, 1, 2]
    assert tree.add([5, 6, 8, 9]) == [0, 1, 3, 4]
    assert tree.add([5, 6, 7]) == [0, 1, 5]
    assert tree.add([5, 6, 7, 1]) == [0, 1, 5, 6]
