"""Files of dialogues, read one conversation at a time: ChatterBot's YAML and JSON lines."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from fromscratch.chat.conversation import Damage, Turns

__all__ = ["chatterbot_conversations", "json_line_conversations"]

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}

# libyaml where PyYAML was built with it, which is ten times as fast. The base loader makes strings of all scalars,
# so the answer `No` stays a word and `1963` a text, and no tag of the file can build anything else.
YamlLoader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def chatterbot_conversations(raw: bytes, alternatives: bool) -> Iterator[Turns | Damage]:
    """The conversations of one YAML file of the ChatterBot corpus (UTF-8).

    With ``alternatives`` a list is a question and several answers to it, each of which makes a conversation;
    otherwise the speakers take turns, the user first.
    """
    try:
        tree = yaml.load(raw, Loader=YamlLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        yield Damage(f"no YAML: {' '.join(str(error).split())[:120]}")
        return
    conversations = tree.get("conversations") if isinstance(tree, dict) else None
    if not isinstance(conversations, list):
        yield Damage("no list `conversations`")
        return
    for number, said in enumerate(conversations, start=1):
        if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
            yield Damage(f"conversation {number}: no list of texts")
        elif alternatives:
            yield from (_taking_turns([said[0], answer]) for answer in said[1:])
        else:
            yield _taking_turns(said)


def json_line_conversations(raw: bytes) -> Iterator[Turns | Damage]:
    """A conversation a line (UTF-8): ``{"messages": [{"role", "content"}]}``, as OpenAI writes it, or
    ``{"conversations": [{"from", "value"}]}``, as ShareGPT does.

    Roles are `system`, `user` or `human`, `assistant` or `gpt`. Content is a text or a list of parts of type text.
    """
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield _messages(json.loads(line))
        except (ValueError, RecursionError) as error:
            yield Damage(f"line {number}: {error}")


def _taking_turns(said: list[str]) -> Turns:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


def _messages(record: Any) -> Turns:
    """Raises ValueError that says what is wrong with the record."""
    if isinstance(record, dict) and isinstance(record.get("messages"), list):
        items, role_key, text_key = record["messages"], "role", "content"
    elif isinstance(record, dict) and isinstance(record.get("conversations"), list):
        items, role_key, text_key = record["conversations"], "from", "value"
    else:
        raise ValueError("neither a list `messages` nor a list `conversations`")
    turns = []
    for item in items:
        role = item.get(role_key) if isinstance(item, dict) else None
        if role not in ROLES:
            raise ValueError(f"a `{role_key}` that is {json.dumps(role)}, not one of {', '.join(ROLES)}")
        turns.append({"role": ROLES[role], "content": _text(item.get(text_key))})
    return turns


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    raise ValueError("content that is neither a text nor parts of type text")
