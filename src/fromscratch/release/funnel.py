"""The corpus chapters of the report: what each step kept and dropped, drawn to scale, and where the text comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from fromscratch.release.licences import license_remarks
from fromscratch.release.wording import bytes_text, count, language_name, share

__all__ = ["funnel_chapter", "reason_text", "sources_chapter", "step_title"]

OWN_COLORS = {"en": "en", "zh": "zh", "code": "code-l"}
FREE_COLORS = ("l4", "l5")
UNREADABLE_SHOWN = 20

Step = Mapping[str, Any]


def funnel_chapter(funnel: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the picture and of the table, in the order of the steps; the first step's input is the full width."""
    steps: Sequence[Step] = funnel["steps"]
    # Text may outgrow what was read (GB18030 is shorter than UTF-8), and a bar must not leave the picture.
    sizes = [each[side] for each in steps for side in ("entered", "kept")]
    whole = {unit: max(each[unit] for each in sizes) for unit in ("documents", "bytes")}
    colors = _colors(steps)
    first, last = steps[0]["entered"], steps[-1]["kept"]
    unreadable = funnel["unreadable"]
    used = {color for step in steps for color in _languages(step, colors)}
    return {
        "lead": (
            f"{bytes_text(first['bytes'])} in {count(first['documents'])} raw documents were read. "
            f"{bytes_text(last['bytes'])} of clean text in {count(last['documents'])} documents were left after "
            f"{len(steps)} steps: {share(last['bytes'], first['bytes'])} of the bytes and "
            f"{share(last['documents'], first['documents'])} of the documents."
        ),
        "legend": [
            *({"color": color, "label": label} for color, label in _key_labels(colors).items() if color in used),
            {"color": "drop", "label": "dropped"},
        ],
        "steps": [_step(each, whole, colors) for each in steps],
        "unreadable": unreadable[:UNREADABLE_SHOWN],
        "more_unreadable": max(0, len(unreadable) - UNREADABLE_SHOWN),
    }


def sources_chapter(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A row per source, the one that gives most text first."""
    keys = ("documents", "bytes", "kept_documents", "kept_bytes")
    total = {key: sum(each[key] for each in sources.values()) for key in keys}
    rows = [
        {
            "name": name,
            "license": each["license"],
            "remarks": license_remarks(each["license"]),
            **_sizes(each),
            "share": share(each["kept_bytes"], total["kept_bytes"]),
            "percent": f"{100 * each['kept_bytes'] / max(1, total['kept_bytes']):.1f}",
        }
        for name, each in sorted(sources.items(), key=lambda pair: (-pair[1]["kept_bytes"], pair[0]))
    ]
    return {"rows": rows, "total": _sizes(total)}


def step_title(step: str) -> str:
    """``near duplicates`` → Near duplicates."""
    return step[:1].upper() + step[1:]


def reason_text(reason: str) -> str:
    """``wrong_language`` → wrong language."""
    return reason.replace("_", " ")


def _step(step: Step, whole: Mapping[str, int], colors: Mapping[str, str]) -> dict[str, Any]:
    entered, kept = step["entered"], step["kept"]
    dropped = sorted(step["dropped"].items(), key=lambda pair: (-pair[1]["bytes"], -pair[1]["documents"], pair[0]))
    return {
        "title": step_title(step["step"]),
        "entered_documents": count(entered["documents"]),
        "entered_bytes": bytes_text(entered["bytes"]),
        "kept_documents": count(kept["documents"]),
        "kept_bytes": bytes_text(kept["bytes"]),
        "kept_share": share(kept["bytes"], entered["bytes"]),
        "dropped": [
            {
                "reason": reason_text(reason),
                "documents": count(lost["documents"]) if lost["documents"] else "",
                "bytes": _signed(lost["bytes"]),
                "share": share(max(0, lost["bytes"]), entered["bytes"]),
            }
            for reason, lost in dropped
        ],
        "by_bytes": _segments(step, whole, colors, "bytes"),
        "by_documents": _segments(step, whole, colors, "documents"),
    }


def _signed(lost_bytes: int) -> str:
    """What was lost with a minus; extraction can also add bytes, by writing the same text in UTF-8."""
    return "0 B" if not lost_bytes else f"{'−' if lost_bytes > 0 else '+'}{bytes_text(abs(lost_bytes))}"


def _segments(step: Step, whole: Mapping[str, int], colors: Mapping[str, str], unit: str) -> list[dict[str, Any]]:
    """The bar of a step from left to right, in percent of ``whole``: what is kept by language, then what is dropped."""
    say = bytes_text if unit == "bytes" else lambda value: f"{count(value)} documents"
    parts = [
        (color, size[unit], f"{_key_labels(colors)[color]}: {say(size[unit])} kept")
        for color, size in _languages(step, colors).items()
    ]
    lost = step["entered"][unit] - step["kept"][unit]
    parts.append(("drop", lost, f"{say(lost)} dropped"))
    segments, left = [], 0.0
    for color, size, title in parts:
        width = 100 * size / max(1, whole[unit])
        if size > 0:
            segments.append({"color": color, "left": f"{left:.3f}", "width": f"{width:.3f}", "title": title})
        left += width
    return segments


def _languages(step: Step, colors: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """What a step kept, by color; a step that does not tell languages apart has one color."""
    by_language = step.get("kept_by_language") or {}
    if not by_language:
        return {"kept": dict(step["kept"])}
    sums: dict[str, dict[str, int]] = {}
    for language in [*colors, *(each for each in sorted(by_language) if each not in colors)]:
        if language in by_language:
            size = sums.setdefault(colors.get(language, "other"), {"documents": 0, "bytes": 0})
            for unit in size:
                size[unit] += by_language[language][unit]
    return sums


def _colors(steps: Sequence[Step]) -> dict[str, str]:
    """A color for each language that matters, the largest first; the rest share one."""
    largest: dict[str, int] = {}
    for step in steps:
        for language, size in (step.get("kept_by_language") or {}).items():
            largest[language] = max(largest.get(language, 0), size["bytes"])
    total = max((step["entered"]["bytes"] for step in steps), default=0)
    free = list(FREE_COLORS)
    colors: dict[str, str] = {}
    for language in sorted(largest, key=lambda each: (-largest[each], each)):
        if language in OWN_COLORS:
            colors[language] = OWN_COLORS[language]
        elif free and language != "und" and largest[language] > total / 100:
            colors[language] = free.pop(0)
    return colors


def _key_labels(colors: Mapping[str, str]) -> dict[str, str]:
    named = {color: language_name(language) for language, color in colors.items()}
    return {**named, "other": "Other languages", "kept": "Kept"}


def _sizes(each: Mapping[str, int]) -> dict[str, str]:
    return {
        "documents": count(each["documents"]),
        "bytes": bytes_text(each["bytes"]),
        "kept_documents": count(each["kept_documents"]),
        "kept_bytes": bytes_text(each["kept_bytes"]),
    }
