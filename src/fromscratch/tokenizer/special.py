"""The special tokens, at the ids that Yi gives them."""

__all__ = [
    "CHAT_TEMPLATE",
    "END_OF_TEXT",
    "IM_END",
    "IM_SEP",
    "IM_START",
    "PADDING",
    "SPECIAL_TOKENS",
    "START_OF_TEXT",
    "UNKNOWN",
]

UNKNOWN = 0  # never produced: every byte has a piece
PADDING = 0  # Yi pads with <unk>
START_OF_TEXT = 1
END_OF_TEXT = 2  # after every document
IM_START = 6
IM_END = 7
IM_SEP = 8

_NAMED = {
    UNKNOWN: "<unk>",
    START_OF_TEXT: "<|startoftext|>",
    END_OF_TEXT: "<|endoftext|>",
    IM_START: "<|im_start|>",
    IM_END: "<|im_end|>",
    IM_SEP: "<|im_sep|>",
}
SPECIAL_TOKENS: tuple[str, ...] = tuple(_NAMED.get(each, f"<|reserved_{each}|>") for each in range(16))
"""The text of the special token of each id from 0; ordinary pieces follow them."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""A conversation in these tokens (ChatML) as Jinja, for the `chat_template` of a released tokenizer."""
