"""Stop strings: has a completion's text just come to hold one?"""

from collections.abc import Callable, Collection, Sequence

MARGIN = 8
"""Tokens read before those that could spell a stop string: the first few of a window may decode
otherwise than in their place (half a character, a leading blank)."""


class StopStrings:
    """The strings after which a completion ends."""

    def __init__(
        self, stop: Sequence[str], decode: Callable[[list[int]], str], silent: Collection[int]
    ) -> None:
        """`decode` gives the text of token ids; those in `silent` add nothing to it."""
        self._stop = tuple(stop)
        self._decode = decode
        self._silent = frozenset(silent)
        # Every token that is not silent spells at least one byte.
        self._window = max((len(end.encode()) for end in stop), default=0) + MARGIN

    def met(self, tokens: Sequence[int]) -> bool:
        """Whether the text of `tokens` holds a stop string, given that without the last it didn't.

        Reads the last few tokens alone; all of them only to make sure.
        """
        if not self._stop:
            return False
        window: list[int] = []
        for token in reversed(tokens):
            if token not in self._silent:
                window.append(token)
                if len(window) == self._window:
                    break
        return self._in(window[::-1]) and self._in(list(tokens))

    def _in(self, tokens: list[int]) -> bool:
        text = self._decode(tokens)
        return any(end in text for end in self._stop)
