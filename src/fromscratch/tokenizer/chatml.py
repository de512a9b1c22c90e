"""ChatML: how a conversation is written as tokens, by us and by the template that a release carries."""

from collections.abc import Iterable, Mapping

from tokenizers import Tokenizer

from fromscratch.tokenizer.special import CHAT_TEMPLATE, IM_END, IM_START

__all__ = ["CHAT_TEMPLATE", "IM_END", "IM_START", "Message", "chatml_prompt", "encode_chat", "encode_plain"]

Message = Mapping[str, str]  # {"role": "user", "content": "…"}


def chatml_prompt(messages: Iterable[Message], *, add_generation_prompt: bool = True) -> list[str | int]:
    """A conversation as parts, each a plain text or the id of a special token.

    ``<|im_start|>{role}\\n{content}<|im_end|>\\n`` per message (white space around the content is cut), then, for
    an answer to be generated, ``<|im_start|>assistant\\n``. Role and content are parts of their own, so that an
    answer has the same tokens whether it was generated after a prompt or read back as history.
    """
    parts: list[str | int] = []
    for message in messages:
        parts += [IM_START, f"{message['role']}\n", message["content"].strip(), IM_END, "\n"]
    return [*parts, IM_START, "assistant\n"] if add_generation_prompt else parts


def encode_chat(tokenizer: Tokenizer, messages: Iterable[Message], add_generation_prompt: bool = True) -> list[int]:
    """The token ids of a conversation; what a user types is never read as a special token."""
    ids: list[int] = []
    for part in chatml_prompt(messages, add_generation_prompt=add_generation_prompt):
        ids += [part] if isinstance(part, int) else encode_plain(tokenizer, part)
    return ids


def encode_plain(tokenizer: Tokenizer, text: str) -> list[int]:
    """The token ids of a text in which ``<|im_end|>`` and its like are only letters."""
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids
    finally:
        tokenizer.encode_special_tokens = before
