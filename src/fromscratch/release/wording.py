"""How numbers are written for people: counts, megabytes, shares, durations."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

__all__ = [
    "bits",
    "by_language",
    "bytes_text",
    "change",
    "count",
    "duration",
    "in_sentence",
    "language_name",
    "listed",
    "share",
    "short_count",
    "signed",
]

# A number and its unit stay on one line.
NBSP = "\u00a0"

LANGUAGES = {
    "code": "Code",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "ja": "Japanese",
    "ko": "Korean",
    "und": "Undetermined",
    "zh": "Chinese",
}


def count(value: float) -> str:
    """1234567 → 1,234,567."""
    return f"{value:,.0f}"


def short_count(value: float) -> str:
    """5241856 → 5.24 M; three significant digits."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{_three_digits(value / size)}{NBSP}{unit}"
    return f"{value:,.0f}"


def bytes_text(value: float) -> str:
    """Decimal units, as disks and downloads are measured: 96400000 → 96.4 MB."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= 0.9995 * size:
            return f"{_three_digits(value / size)}{NBSP}{unit}"
    return f"{value:,.0f}{NBSP}B"


def share(part: float, whole: float) -> str:
    """A percentage that never rounds something to nothing, nor nearly all to all."""
    if whole <= 0:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return f"<{NBSP}0.1{NBSP}%"
    if 99.9 < percent < 100:
        return f">{NBSP}99.9{NBSP}%"
    return f"{percent:.1f}{NBSP}%" if 0 < percent < 99.95 else f"{percent:.0f}{NBSP}%"


def change(value: float, against: float) -> str:
    """How far ``value`` is below or above ``against``: −14.2 %. The sign is a real minus."""
    if not against:
        return "–"
    percent = 100 * (value - against) / against
    return f"{'−' if percent < 0 else '+'}{abs(percent):.1f}{NBSP}%"


def bits(value: float | None) -> str:
    """Bits per byte to three places."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def signed(value: float) -> str:
    """A number of either sign to three places, with a real minus."""
    return f"{value:.3f}".replace("-", "−")


def duration(seconds: float) -> str:
    """4.2 s, 12 min 05 s, 3 h 20 min."""
    if seconds < 59.95:
        return f"{seconds:.1f}{NBSP}s"
    if seconds < 3_599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}{NBSP}min {rest:02d}{NBSP}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{NBSP}h {minutes:02d}{NBSP}min"


def language_name(code: str) -> str:
    """``zh`` → Chinese; a code that is not known here stays as it is."""
    return LANGUAGES.get(code, code)


def in_sentence(code: str) -> str:
    """The name of a language within a sentence: English, Chinese, code."""
    return "code" if code == "code" else language_name(code)


def listed(words: Sequence[str]) -> str:
    """``["a", "b", "c"]`` → a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


Value = TypeVar("Value")


def by_language(values: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """The items in the order that people expect: English, Chinese, the other languages, code."""
    order = {"en": 0, "zh": 1, "code": 3, "und": 4}
    return sorted(values.items(), key=lambda pair: (order.get(pair[0], 2), pair[0]))


def _three_digits(value: float) -> str:
    places = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{places}f}"
