"""Quoting of text that a stranger wrote, inside a prompt.

A quoted text can't end its quotation (every line of it carries the quote mark), can't smuggle in
the control tokens of a chat template, and can't be longer than the game allows.
"""

import re
import unicodedata

_CONTROL = re.compile(r"<(\|?/?[A-Za-z_|][^<>\n]{0,64})>")
_BRACKET_CONTROL = re.compile(r"\[(/?(?:INST|SYS|SYSTEM|TOOL|AVAILABLE)[^\[\]\n]{0,32})\]", re.I)


def quote(text: str, limit: int) -> str:
    """`text` as a block quotation of at most `limit` characters of its own.

    Anything shaped like a control token (``<|im_end|>``, ``</s>``, ``[INST]``) loses its brackets,
    control characters become spaces, and each line starts with ``> ``.
    """
    text = text[: 4 * limit]
    text = "".join(
        " " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") and c != "\n" else c
        for c in text.replace("\r\n", "\n")
        .replace("\r", "\n")
        .replace("\u2028", "\n")
        .replace("\u2029", "\n")
        .replace("\x85", "\n")
    )
    # To a fixpoint: taking one token apart may join the pieces of another.
    while True:
        cleaned = _BRACKET_CONTROL.sub(r"(\1)", _CONTROL.sub(r"‹\1›", text))
        cleaned = cleaned.replace("<|", "‹|").replace("|>", "|›")
        if cleaned == text:
            break
        text = cleaned
    text = text.strip()
    if len(text) > limit:
        text = text[:limit].rstrip() + " …"
    return "\n".join("> " + line.strip() for line in text.split("\n")) if text else "> (nothing)"
