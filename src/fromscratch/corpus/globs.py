"""Globs over slash-separated names: `*` and `?` stay within a folder, `**` spans folders."""

import re
from collections.abc import Callable, Sequence

__all__ = ["name_filter"]

TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^]]+\]|.", re.DOTALL)
MEANING = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def name_filter(members: Sequence[str], exclude: Sequence[str] = ()) -> Callable[[str], bool]:
    """A test for names that match one of ``members`` and none of ``exclude``."""
    wanted, unwanted = _pattern(members), _pattern(exclude)
    return lambda name: bool(wanted.fullmatch(name)) and not unwanted.fullmatch(name)


def _pattern(globs: Sequence[str]) -> re.Pattern[str]:
    """One regular expression for all the globs; it matches no name when there are none."""
    return re.compile(
        "|".join(f"(?:{''.join(map(_meaning, TOKENS.findall(each)))})" for each in globs) or "(?!)", re.DOTALL
    )


def _meaning(token: str) -> str:
    if token in MEANING:
        return MEANING[token]
    if len(token) > 1:  # a set of characters
        return token.replace("[!", "[^", 1).replace("\\", r"\\")
    return re.escape(token)
