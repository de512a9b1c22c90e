"""A comparison as plain values for JSON: every figure of the other pages and the maps in full."""

import math
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from fromscratch.anatomy.compare import Comparison

__all__ = ["comparison_json", "plain"]

SCHEMA = "fromscratch.compare.1"


def comparison_json(found: Comparison) -> dict[str, Any]:
    """The whole comparison; the parts of the structures are left out, since pairings name every tensor."""
    made = plain(found)
    for side in ("a", "b"):
        del made[side]["structure"]["parts"]
    return {"schema": SCHEMA, **made}


def plain(value: Any) -> Any:
    """Dataclasses as objects, tuples as lists, numbers that JSON lacks as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
