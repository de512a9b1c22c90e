"""Settings are frozen values: unknown keys are refused with a suggestion, wrong types with the place."""

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from fromscratch.core.errors import FromScratchError

__all__ = ["Settings", "did_you_mean", "refuse", "validate_settings"]


class Settings(BaseModel):
    """A frozen value. A choice is a union of such values, told apart by a ``kind`` of literal type."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "`@{key}` is not a setting",
                        {"key": str(key), "hint": did_you_mean(str(key), list(cls.model_fields))},
                    )
        return data


def did_you_mean(name: str, known: list[str]) -> str:
    """The hint for an unknown name: the nearest known one, or the whole list when none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else "known: " + ", ".join(f"`{each}`" for each in sorted(known))


def refuse(message: str, hint: str) -> NoReturn:
    """Refuse a combination of settings from within a validator.

    ``@name`` in the message stands for a field of the settings at hand and is printed with its full path:
    ``refuse("`@kv_heads` = 5 does not divide `@heads` = 8", "use 1, 2, 4 or 8")``.
    """
    raise PydanticCustomError("refused", "{message}", {"message": message, "hint": hint})


S = TypeVar("S", bound=Settings)


def validate_settings(
    kind: type[S], data: Mapping[str, Any], origin: str, overrides: Mapping[str, Any] | None = None
) -> S:
    """Read ``data`` (as parsed from TOML or JSON) as settings of the given kind.

    ``origin`` names the file in errors; a value that came from ``overrides`` (dotted path → value) is
    blamed on ``--set`` instead. Raises FromScratchError at the first refusal, with the path and the value.
    """
    try:
        return kind.model_validate(_frozen(data), strict=True)
    except ValidationError as error:
        raise _in_one_sentence(error.errors()[0], data, origin, overrides or {}) from None


def _frozen(value: Any) -> Any:
    """Arrays as tuples, which frozen settings hold; so strict validation can refuse "12" for 12 and still take them."""
    if isinstance(value, Mapping):
        return {key: _frozen(each) for key, each in value.items()}
    return tuple(_frozen(each) for each in value) if isinstance(value, list | tuple) else value


def _in_one_sentence(
    detail: ErrorDetails, data: Mapping[str, Any], origin: str, overrides: Mapping[str, Any]
) -> FromScratchError:
    path, value = _place(detail["loc"], data)
    context = detail.get("ctx", {})
    within = f"{path}." if path else ""
    kind = detail["type"]
    if kind == "unknown_key":
        path = f"{within}{context['key']}"
        message = f"`{path}` is not a setting"
        hint = str(context["hint"])
    elif kind == "refused":
        message, hint = str(context["message"]).replace("`@", f"`{within}"), str(context["hint"])
    elif kind == "missing":
        message, hint = f"`{path}` is missing", "add it; `fromscratch schema` describes every setting"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        known = [each.strip().strip("'") for each in str(context.get("expected_tags", "")).split(",") if each.strip()]
        tag = str(context.get("tag", ""))
        message = f"`{within}kind` = {tag!r} is not known" if tag else f"`{within}kind` is missing"
        hint = did_you_mean(tag, known) if known else "`fromscratch schema` lists the kinds"
    else:
        message = f"`{path}` = {json.dumps(value, ensure_ascii=False, default=str)} is refused"
        expected = detail["msg"].removeprefix("Input ").replace("tuple", "array")
        hint = "it " + re.sub(r"dictionary( or instance of \w+)?", "table", expected)
    blamed = [
        each
        for each in overrides
        if path == each or path.startswith(f"{each}.") or each.startswith(f"{path}.") or f"`{each}`" in message
    ]
    if blamed:
        origin = ", ".join(f"--set {each}" for each in blamed[:2])
    return FromScratchError(f"{origin}: {message}", hint)


def _place(location: tuple[int | str, ...], data: Any) -> tuple[str, Any]:
    """Dotted path and value at a pydantic location, whose union tags are not keys of the data."""
    names: list[str] = []
    untagged: Any = None  # the union's table whose tag was passed already
    for index, part in enumerate(location):
        if isinstance(data, Mapping) and data is not untagged and data.get("kind") == part:
            untagged = data
            continue
        if isinstance(data, Mapping) and part in data:
            data = data[str(part)]
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif part == "[key]" or index < len(location) - 1:
            continue
        names.append(str(part))
    return ".".join(names), data
