"""One document's way through the corpus: each step, what was measured against which bound, and what it repeats."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fromscratch.core.artifact import Artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.corpus.cascade import STEPS
from fromscratch.corpus.filters.filter import Filter
from fromscratch.corpus.filters.quality import RULES, Quality
from fromscratch.corpus.kernels.metrics import Metric
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.verdicts.find import Place, beginning, finished_corpus, read_rows, scan

__all__ = ["explain"]

ORIGIN = ("id", "title", "url", "source", "domain", "license", "language", "raw_bytes", "bytes")
VERDICT = ("keep", "split", "step", "reason", "evidence")
CANDIDATES_NAMED = 5
REPEATERS_NAMED = 5
TEXT_CHARACTERS = 600

Row = Mapping[str, Any]


def explain(run: Path, wanted: str) -> dict[str, Any]:
    """Everything that is known of one document of a run's corpus, as plain values.

    What is measured is measured of the text as it is kept; a filter that came earlier saw it before later ones cut it.
    ``wanted`` is its id, a beginning of it that no other has, or its address. Under ``steps`` stands for each step of
    the cascade how it ended and what it measured; ``duplicate`` is the kept document that it repeats; ``repeated_by``
    are those that were dropped for repeating it. Raises FromScratchError for a document that is not there.
    """
    corpus = finished_corpus(run)
    row = _find(corpus, wanted)
    made_with = corpus.origin.settings["corpus"]
    settings = validate_settings(CorpusSettings, made_with, f"{corpus.path}/manifest.json")
    # A filter that was off, or that came with a later version.
    off = {name for name in type(settings.filters).model_fields if made_with["filters"].get(name) is None}
    return {
        "run": str(run),
        **{name: row[name] for name in (*ORIGIN, *VERDICT)},
        "steps": [_step(step, row, settings, step in off) for step in STEPS],
        "duplicate": _partner(corpus, row),
        "repeated_by": _repeaters(corpus, row["id"]) if row["keep"] else {"documents": 0, "examples": []},
        "text": beginning(row["text"], TEXT_CHARACTERS),
    }


def _find(corpus: Artifact, wanted: str) -> dict[str, Any]:
    """The row of the document with this id, beginning of an id, or address."""
    prefix, found = wanted.lower(), []
    for path, group, table in scan(corpus, ("id", "url")):
        same = pc.or_(pc.starts_with(table["id"], prefix), pc.fill_null(pc.equal(table["url"], wanted), False))
        found += [Place(path, group, row) for row in np.flatnonzero(same.to_numpy()).tolist()]
        if found and len(prefix) == 16:  # a whole id
            break
    if not found or not wanted:
        raise FromScratchError(
            f"{corpus.path.parent}: no document has the id or the address {wanted!r}",
            f"`fromscratch corpus sample {corpus.path.parent}` shows some with their ids",
        )
    if len(found) > 1:
        named = read_rows(found[:CANDIDATES_NAMED], ("id", "title", "url"))
        listed = "; ".join(f"{each['id']} ({each['title'] or each['url']})" for each in named)
        more = f"; and {len(found) - len(named):,} more" if len(found) > len(named) else ""
        raise FromScratchError(f"{wanted!r} stands for {len(found):,} documents: {listed}{more}", "give more of the id")
    return read_rows(found)[0]


def _step(step: str, row: Row, settings: CorpusSettings, is_off: bool) -> dict[str, Any]:
    dropped_at = STEPS.index(row["step"]) if row["step"] else len(STEPS)
    asked = getattr(settings.filters, step, None)
    outcome = "passed" if STEPS.index(step) < dropped_at else "dropped" if row["step"] == step else "not reached"
    if is_off:
        return {"step": step, "outcome": "off", "measured": []}
    measured: list[dict[str, Any]] = []
    if outcome == "not reached":
        pass
    elif step == "extract":
        measured = [_value("raw_bytes", row["raw_bytes"]), _value("bytes", row["bytes"])]
    elif isinstance(asked, Quality):
        measured = _quality(row, asked)
    elif isinstance(asked, Filter):
        measured = _columns(row, asked)
    elif step == "near duplicates" and outcome == "dropped":
        bounds = {"similarity": settings.duplicates.threshold, "containment": settings.duplicates.containment}
        for name, bound in bounds.items():
            if bound is not None and row[name] is not None:
                measured.append(_value(name, row[name], "below", bound, passed=row[name] < bound))
    return {"step": step, "outcome": outcome, "measured": measured}


def _quality(row: Row, quality: Quality) -> list[dict[str, Any]]:
    """Each rule that holds for the document's language and domain, in order, as `judge_metrics` tries them."""
    of_class = {"zh": quality.chinese, "code": quality.code}.get(row["language"], quality.english)
    bounds = of_class.within(row["domain"]).model_dump(exclude={"domains"}, exclude_none=True)
    is_short = row[Metric.WORDS.name.lower()] < bounds.get("short_words", 0)
    found = []
    for rule in (each for each in RULES if each.bound in bounds):
        # In 32 bits, as the metrics are kept and judged.
        bound = np.float32(bounds[rule.bound] * (rule.short_factor if is_short else 1))
        name = rule.metric.name.lower()
        value = np.float32(row[name])
        passed = bool(value >= bound if rule.side == "least" else value <= bound)
        found.append(_value(name, row[name], rule.side, float(bound), passed=passed, reason=rule.reason))
    return found


def _columns(row: Row, asked: Filter) -> list[dict[str, Any]]:
    """A filter's own columns, each with the bound whose name ends like the column's, or is just `least` or `most`."""
    bounds = {
        (name.partition("_")[2], name.partition("_")[0]): value
        for name, value in asked.model_dump().items()
        if name.startswith(("least", "most")) and isinstance(value, int | float)
    }
    found = []
    for column in type(asked).columns:
        value = row.get(column)
        if value is None:
            continue
        of_column = [
            (side, bound) for (name, side), bound in bounds.items() if not name or f"_{column}".endswith(f"_{name}")
        ]
        side, bound = of_column[0] if of_column and isinstance(value, float) else (None, None)
        passed = None if side is None else value >= bound if side == "least" else value <= bound
        found.append(_value(column, value, side, bound, passed=passed))
    return found


def _value(
    name: str,
    value: Any,
    side: str | None = None,
    bound: float | None = None,
    *,
    passed: bool | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    return {"name": name, "value": value, "side": side, "bound": bound, "passed": passed, "reason": reason}


def _partner(corpus: Artifact, row: Row) -> dict[str, Any] | None:
    """The document that this one repeats."""
    if row["duplicate_of"] is None:
        return None
    partner = _find(corpus, row["duplicate_of"])
    return {
        "similarity": row["similarity"],
        "containment": row.get("containment"),
        **{name: partner[name] for name in ORIGIN},
        "text": beginning(partner["text"], TEXT_CHARACTERS),
    }


def _repeaters(corpus: Artifact, document: str) -> dict[str, Any]:
    """How many documents were dropped for repeating this one, and the first of them."""
    places: list[Place] = []
    for path, group, table in scan(corpus, ("duplicate_of",)):
        same = pc.fill_null(pc.equal(table["duplicate_of"], pa.scalar(document)), False)
        places += [Place(path, group, row) for row in np.flatnonzero(same.to_numpy()).tolist()]
    columns = ("id", "title", "url", "source", "reason", "similarity")
    return {"documents": len(places), "examples": read_rows(places[:REPEATERS_NAMED], columns)}
