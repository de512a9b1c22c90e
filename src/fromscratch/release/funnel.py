"""The corpus chapters of the report: what each step kept and dropped, drawn to scale, and where the text comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from fromscratch.release.licences import license_remarks
from fromscratch.release.sankey import Part, Stretch, draw_sankey
from fromscratch.release.wording import bytes_text, count, language_name, share, short_count

__all__ = ["funnel_chapter", "reason_text", "sources_chapter", "step_title"]

OWN_COLORS = {"en": "en", "zh": "zh", "code": "code-l"}
FREE_COLORS = ("l4", "l5")
UNREADABLE_SHOWN = 20
SMALL_SHARE = 1 / 400  # of what was read: reasons that cost less than that share one ribbon
LABEL_CHARACTERS = 26
# Means that tell groups apart at a glance; all others are in funnel.json.
SCORES_SHOWN = ("language_score", "perplexity", "likeness", "safety", "mean_word_characters", "top_2_gram_share")

Step = Mapping[str, Any]


def funnel_chapter(funnel: Mapping[str, Any]) -> dict[str, Any]:
    """The picture, and rows of the tables, in the order of the steps; groups and topics where the funnel has them."""
    steps: Sequence[Step] = funnel["steps"]
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
        "picture": draw_sankey([*_stretches(steps, colors), _end(steps[-1], colors)]),
        "steps": [_step(each) for each in steps],
        "groups": _group_rows(funnel.get("groups", {})),
        "topics": _share_rows(funnel.get("topics", {})),
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


def _step(step: Step) -> dict[str, Any]:
    entered, kept = step["entered"], step["kept"]
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
            for reason, lost in _losses(step)
        ],
    }


def _losses(step: Step) -> list[tuple[str, Mapping[str, int]]]:
    """Reasons and what they cost, the largest first."""
    return sorted(step["dropped"].items(), key=lambda pair: (-pair[1]["bytes"], -pair[1]["documents"], pair[0]))


def _stretches(steps: Sequence[Step], colors: Mapping[str, str]) -> list[Stretch]:
    """The picture's part for each step: what it keeps by language, and why it drops the rest."""
    largest = max(step["entered"]["bytes"] for step in steps)
    drawn = []
    for step in steps:
        kept = _parts(_languages(step, colors), colors)
        note = f"{_documents(step['entered']['documents'])}, {bytes_text(step['entered']['bytes'])}"
        drawn.append(Stretch(step_title(step["step"]), note, kept, _lost(step, largest * SMALL_SHARE)))
    return drawn


def _lost(step: Step, small: float) -> list[Part]:
    """What a step drops, small reasons together. Bytes that it adds, by writing text anew, are in the table alone."""
    found = [(reason, lost) for reason, lost in _losses(step) if lost["bytes"] > 0 or lost["documents"]]
    large = [pair for pair in found if pair[1]["bytes"] >= small]
    others = [lost for _, lost in found[len(large) :]]
    if len(others) == 1:
        large, others = found, []
    parts = [(_short(reason_text(reason)), lost["bytes"], lost["documents"]) for reason, lost in large]
    if others:
        size, documents = (sum(lost[unit] for lost in others) for unit in ("bytes", "documents"))
        parts.append((f"other ({len(others)} reasons)", size, documents))
    return [
        Part("drop", size, label, _signed(size) + (f", {_documents(documents)}" if documents else ""))
        for label, size, documents in parts
    ]


def _end(step: Step, colors: Mapping[str, str]) -> Stretch:
    """Where the stream ends: what is left, by language; the rightmost has the topmost label."""
    kept = step["kept"]
    note = f"{_documents(kept['documents'])}, {bytes_text(kept['bytes'])}"
    return Stretch("Kept", note, (), _parts(_languages(step, colors), colors)[::-1])


def _parts(sizes: Mapping[str, Mapping[str, int]], colors: Mapping[str, str]) -> list[Part]:
    labels = _key_labels(colors)
    return [
        Part(color, size["bytes"], labels[color], f"{bytes_text(size['bytes'])}, {_documents(size['documents'])}")
        for color, size in sizes.items()
    ]


def _documents(number: int) -> str:
    """Ten millions and more in three digits, so that a label keeps its length whatever the crawl's."""
    return f"{count(number) if number < 10**7 else short_count(number)} document{'s' * (number != 1)}"


def _short(reason: str) -> str:
    return reason if len(reason) <= LABEL_CHARACTERS else reason[: LABEL_CHARACTERS - 1] + "…"


def _share_rows(sizes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """A row for each name, the one with most text first."""
    total = sum(each["bytes"] for each in sizes.values())
    return [
        {
            "name": name,
            "documents": count(each["documents"]),
            "bytes": bytes_text(each["bytes"]),
            "share": share(each["bytes"], total),
            "percent": f"{100 * each['bytes'] / max(1, total):.1f}",
        }
        for name, each in sorted(sizes.items(), key=lambda pair: (-pair[1]["bytes"], pair[0]))
    ]


def _group_rows(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a mixture can be made of, and the mean scores of each group, a column for each score that one has."""
    scores = [name for name in SCORES_SHOWN if any(name in each.get("scores", {}) for each in groups.values())]
    rows: list[dict[str, Any]] = []
    for row in _share_rows(groups):
        group = groups[row["name"]]
        means = [group.get("scores", {}).get(name) for name in scores]
        rows.append(
            {
                **row,
                "characters": count(group["characters"] / max(1, group["documents"])),
                "scores": ["–" if mean is None else f"{mean:,.3g}" for mean in means],
            }
        )
    return {"scores": [reason_text(name) for name in scores], "rows": rows}


def _signed(lost_bytes: int) -> str:
    """What was lost with a minus; extraction can also add bytes, by writing the same text in UTF-8."""
    return "0 B" if not lost_bytes else f"{'−' if lost_bytes > 0 else '+'}{bytes_text(abs(lost_bytes))}"


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
