"""Where text is cut before pieces are learnt: no piece crosses one of these cuts."""

import re
from typing import Literal

__all__ = ["PART_CHARACTERS", "bounded_parts", "split_pattern"]

PART_CHARACTERS = 200_000
# Three places that every alternative of the pattern leaves uncrossed.
_SAFE_CUT = re.compile(r"(?<=\n)(?=[!-~\u4e00-\u9fff])|(?<=[a-z])(?= [a-z])|(?<=[\u4e00-\u9fff])(?=[，。])")

_LETTER = r"[\p{L}\p{M}&&[^\p{Han}]]"
_NEWLINES = r"[\r\n]+(?:[ \t]+(?= \S))?"  # with the indentation of the next line but for the space its word takes
_NUMBER = {"single": r"\p{N}", "up_to_three": r"\p{N}{1,3}"}


def split_pattern(digits: Literal["single", "up_to_three"]) -> str:
    """The regular expression (Oniguruma) whose matches are the stretches within which pieces are learnt.

    Each alternative was kept for the bytes per token it saved on held-out text; the figures are in
    docs/decisions/pre-tokenisation.md.
    """
    return "|".join(
        [
            r"[^\s\p{L}\p{N}]?\p{Han}+",  # Han characters, after at most one mark: ，但
            rf"[ -/:-@\[-`{{-~\t]?{_LETTER}+",  # a word of another script, after one space or ASCII mark: _name
            _NUMBER[digits],
            rf" ?[^\s\p{{L}}\p{{N}}]+(?:{_NEWLINES})?",  # marks with the line's end: "):\n        "
            rf"\s*{_NEWLINES}",
            r"\s+(?!\S)",  # all but the last space, which goes with the word that follows
            r"\s+",
        ]
    )


def bounded_parts(text: str, part_characters: int = PART_CHARACTERS) -> list[str]:
    """The text in parts of about ``part_characters``, cut where no piece can cross: their ids, joined, are the text's.

    The encoder takes a hundred times the memory of what it is given at once. A text without a safe cut stays whole.
    """
    parts, first = [], 0
    while first + part_characters < len(text) and (cut := _SAFE_CUT.search(text, first + part_characters)):
        parts.append(text[first : cut.start()])
        first = cut.start()
    return [*parts, text[first:]]
