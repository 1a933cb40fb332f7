"""Whether a text is what its token ids decode to."""

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TextCheck:
    """Decodes with a ``tokenizer.json``, loaded at the first use: it takes tens of MB."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._tokenizer: Tokenizer | None = None

    def agrees(self, tokens: bytes, text: str) -> bool:
        """Whether `tokens` (u32 little-endian ids, special ones skipped) decode to `text`. Ids
        that the tokenizer doesn't know agree with nothing. Raises what loading the file raises."""
        if len(tokens) % 4:
            return False
        if self._tokenizer is None:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(self._path)
        tokenizer = self._tokenizer
        ids = struct.unpack(f"<{len(tokens) // 4}I", tokens)
        if any(tokenizer.id_to_token(token) is None for token in ids):
            return False
        return tokenizer.decode(ids, skip_special_tokens=True) == text
