"""Chats to token ids and token ids to text, the same on every machine and every day."""

import functools
from datetime import datetime
from pathlib import Path

from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from rlswarm.errors import ModelError
from rlswarm.policy.source import chat_template, special_tokens
from rlswarm.prompt import Prompt

FIXED_DATE = datetime(2026, 1, 1)
"""The day that chat templates see: a prompt must not change at midnight."""

_CODES = [f"replace('%{code}', '{FIXED_DATE:%{code}}')" for code in "YymdeBbAaHIMSpj"]
_FIXED_CLOCK = "{% macro strftime_now(f) %}{{ f|" + "|".join(_CODES) + " }}{% endmacro %}"
"""Put before a chat template, hides transformers' own `strftime_now`, which reads the clock."""

PLAIN_TITLES = {"system": "System", "user": "User", "assistant": "Assistant"}
"""Turns of a model without a chat template: ``Title: content``, a blank line between turns."""


class Renderer:
    """The tokenizer and the chat template of one model."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        """Raises ModelError if the tokenizer can't be read."""
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(f"the tokenizer of {folder} can't be loaded ({error})") from error
        # An AutoTokenizer would hold the vocabulary a second time: 110 MB for 49,152 tokens.
        self._template = chat_template(folder)
        self._names = special_tokens(folder)
        added = self._tokenizer.get_added_tokens_decoder()
        self._control = tuple(sorted(token.content for token in added.values() if token.special))
        self.silent = frozenset(number for number, token in added.items() if token.special)
        """Ids of special tokens, which `decode` skips."""
        end = self._names.get("eos_token")
        self.end_token: int | None = self._tokenizer.token_to_id(end) if end else None

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a chat, ready for the policy's first token.

        A last turn of role ``assistant`` is left open and continued. Control tokens spelt out in
        a turn's content are broken up, so that quoted text can't end its turn. Where the template
        has no place for a system turn, it opens the first turn of the user. Raises ModelError if
        the model's template refuses the chat.
        """
        if not prompt:
            raise ModelError("an empty chat can't be rendered")
        turns = [{"role": turn.role, "content": self._harmless(turn.content)} for turn in prompt]
        if not self._template:
            return list(self._tokenizer.encode(_plain(turns)).ids)
        if turns[0]["role"] == "system" and len(turns) > 1 and not self._takes_system:
            turns = _folded(turns)
        try:
            text = self._render(turns)
        except Exception as error:  # whatever the template's author raises
            raise ModelError(f"the model's chat template refuses this prompt ({error})") from error
        # Templates write their control tokens themselves.
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _render(self, turns: list[dict[str, str]]) -> str:
        goes_on = turns[-1]["role"] == "assistant"
        (text,), _ = render_jinja_template(
            conversations=[turns],
            chat_template=_FIXED_CLOCK + self._template,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
            date_string=FIXED_DATE.strftime("%d %b %Y"),
            **self._names,
        )
        return str(text)

    @functools.cached_property
    def _takes_system(self) -> bool:
        """Whether the template shows a system turn; some refuse one, some pass over it."""
        probe = "a system turn"
        turns = [{"role": "system", "content": probe}, {"role": "user", "content": "a question"}]
        try:
            return probe in self._render(turns)
        except Exception:  # whatever the template's author raises
            return False

    def decode(self, tokens: list[int]) -> str:
        """Text of token ids, special tokens skipped: `tokenizers` alone, as the scorer does it."""
        return str(self._tokenizer.decode(tokens))

    def _harmless(self, content: str) -> str:
        while True:
            found = [token for token in self._control if token in content]
            if not found:
                return content
            for token in found:
                # One-letter control tokens would survive a split: drop them.
                broken = f"{token[0]} {token[1:]}" if len(token) > 1 else ""
                content = content.replace(token, broken)


def _folded(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The chat without its system turn, whose words open the next one."""
    system, first, *others = turns
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *others]


def _plain(turns: list[dict[str, str]]) -> str:
    parts = [f"{PLAIN_TITLES[turn['role']]}: {turn['content']}" for turn in turns]
    if turns[-1]["role"] != "assistant":
        parts.append(PLAIN_TITLES["assistant"] + ":")
    return "\n\n".join(parts)
