"""What licences ask for beyond attribution, as far as their SPDX identifiers tell: remarks, not verdicts."""

import re

__all__ = ["license_remarks"]

# The first that an identifier begins with holds: CC-BY-NC-SA is non-commercial before it is share-alike.
REMARKS = (
    ("CC-BY-NC", "non-commercial", "forbids commercial use of the text"),
    ("CC-BY-ND", "no derivatives", "forbids sharing adapted text"),
    (
        "CC-BY-SA",
        "share-alike",
        "asks that adapted text is shared under the same licence; whether weights are adapted text is not settled",
    ),
    (
        "AGPL",
        "copyleft",
        "asks that derived works are under the same licence, also when offered over a network; whether weights are "
        "derived works is not settled, so leave the source out if that matters to you",
    ),
    (
        "GPL",
        "copyleft",
        "asks that derived works are under the same licence; whether weights are derived works is not settled, so "
        "leave the source out if that matters to you",
    ),
    ("LGPL", "weak copyleft", "asks that changed copies are under the same licence"),
    ("MPL", "weak copyleft", "asks that changed files are under the same licence"),
    ("NOASSERTION", "unknown", "is not known"),
)


def license_remarks(expression: str) -> dict[str, str]:
    """Remarks on an SPDX expression by their short name: ``GPL-3.0-only AND MIT`` → copyleft: GPL-3.0-only asks …."""
    found: dict[str, str] = {}
    for identifier in re.findall(r"[A-Za-z0-9.+-]+", expression):
        for beginning, short, text in REMARKS:
            if identifier.upper().startswith(beginning):
                found.setdefault(short, f"{identifier} {text}")
                break
    return found
