"""What a policy is asked: a chat, as data, rendered to token ids only inside the worker."""

from typing import Literal

import msgspec


class ChatMessage(msgspec.Struct, frozen=True, array_like=True):
    """One turn. A last turn of role ``assistant`` is a beginning that the policy continues."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = tuple[ChatMessage, ...]
