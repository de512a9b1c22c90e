"""What every header must obey, whoever wrote it: bounded size, strict JSON, tensors that lie where there are bytes."""

import json
import math
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeGuard

from fromscratch.core.errors import FromScratchError

__all__ = [
    "DAMAGED",
    "HEADER_BYTES_AT_MOST",
    "check_name",
    "check_shape",
    "check_spans",
    "is_count",
    "parse_json",
    "shown",
]

HEADER_BYTES_AT_MOST = 64 << 20
"""Of any table of contents. The largest published models have a few MB of it; parsed, it takes some twenty times as
much memory."""
AXES_AT_MOST = 64
NAME_CHARACTERS_AT_MOST = 1000
SHOWN_CHARACTERS = 120
DAMAGED = "it is cut or damaged; fetch or write it again"


def shown(value: object) -> str:
    """What a file says of itself, as it may stand in a message: short, and without what a terminal would obey."""
    try:
        text = (value if isinstance(value, str) else reprlib.repr(value))[:SHOWN_CHARACTERS]
    except ValueError:  # a number of more digits than Python writes out
        return "a very large number"
    return text if text.isprintable() else ascii(text)[1:-1][:SHOWN_CHARACTERS]


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number that a size or an offset may be; True and False are none."""
    return type(value) is int and 0 <= value < 1 << 63


def parse_json(content: bytes, place: str, *, infinities: bool = False) -> dict[str, Any]:
    """A JSON object in UTF-8 without repeated names. Raises FromScratchError for anything else.

    NaN and infinities are no JSON; configs have them all the same, so they can be let through.
    """
    constant = float if infinities else _refuse_constant
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=constant)
    except RecursionError:
        raise FromScratchError(f"{place}: its JSON is nested too deeply", DAMAGED) from None
    except ValueError as error:
        raise FromScratchError(f"{place}: no JSON that can be read ({shown(str(error))})", DAMAGED) from None
    if not isinstance(value, dict):
        raise FromScratchError(f"{place}: holds no JSON object", DAMAGED)
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"`{shown(name)}` stands there twice")
        table[name] = value
    return table


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def check_name(parts: Sequence[str], place: str) -> None:
    """The parts of a tensor's name are short and can be printed; else FromScratchError.

    A pickle can repeat a long text in a few bytes, so this comes before the parts are joined.
    """
    if sum(map(len, parts)) > NAME_CHARACTERS_AT_MOST or not all(each.isprintable() for each in parts):
        odd = max(parts, key=lambda each: (not each.isprintable(), len(each)))
        raise FromScratchError(f"{place}: a tensor is called `{shown(odd)}`", "names are short and can be printed")


def check_shape(shape: Any, place: str, name: str) -> tuple[int, ...]:
    """The shape as a tuple. Raises FromScratchError unless it is a short sequence of whole numbers from 0."""
    sound = isinstance(shape, Sequence) and len(shape) <= AXES_AT_MOST
    if not sound or not all(map(is_count, shape)) or not is_count(math.prod(shape)):
        raise FromScratchError(f"{place}: tensor `{shown(name)}` has the shape {shown(shape)}", DAMAGED)
    return tuple(shape)


def check_spans(spans: Iterable[tuple[int, int, str]], first: int, end: int, place: str) -> None:
    """Spans (first byte, end, name) lie between ``first`` and ``end`` and do not overlap; else FromScratchError."""
    before, owner = first, ""
    for start, stop, name in sorted(spans):
        if not first <= start <= stop <= end:
            raise FromScratchError(
                f"{place}: `{shown(name)}` lies at bytes {start:,} to {stop:,}, outside of {first:,} to {end:,}",
                DAMAGED,
            )
        if start < before and stop > start:
            raise FromScratchError(f"{place}: `{shown(name)}` and `{shown(owner)}` lie on the same bytes", DAMAGED)
        if stop > start:
            before, owner = stop, name
