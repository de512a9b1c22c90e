"""The funnel: how many documents and bytes each step of the corpus kept and dropped, and for what reasons."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.cascade import STEPS

__all__ = ["MARKUP", "count_funnel", "refuse_empty_corpus"]

EXTRACT = STEPS.index("extract")
MARKUP = "markup"  # bytes, without documents, that extraction left behind in pages that it kept


def count_funnel(documents: pa.Table, unreadable: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The content of funnel.json, from the columns source, license, language, raw_bytes, bytes, step and reason.

    ``step`` is the step that dropped a document, null when it is kept. Bytes are raw ones until a page's text is
    extracted, and those of its text from then on.
    """
    raw_bytes, text_bytes = (documents[name].to_numpy() for name in ("raw_bytes", "bytes"))
    languages, reasons, sources, licenses = (
        np.asarray(documents[name], dtype=object) for name in ("language", "reason", "source", "license")
    )
    dropped_at = np.array([STEPS.index(step) if step else len(STEPS) for step in documents["step"].to_pylist()])
    steps = []
    for number, step in enumerate(STEPS):
        before, after = (raw_bytes if number <= at else text_bytes for at in (EXTRACT, EXTRACT - 1))
        kept, lost = dropped_at > number, dropped_at == number
        dropped = {reason: _tally(before, lost & (reasons == reason)) for reason in sorted(set(reasons[lost]))}
        if step == "extract":
            dropped[MARKUP] = {"documents": 0, "bytes": int((before - after)[kept].sum())}
        steps.append(
            {
                "step": step,
                "entered": _tally(before, dropped_at >= number),
                "kept": _tally(after, kept),
                "dropped": dropped,
                "kept_by_language": {
                    language: _tally(after, kept & (languages == language)) for language in sorted(set(languages[kept]))
                },
            }
        )
    stayed = dropped_at == len(STEPS)
    by_source = {}
    for source in sorted(set(sources)):
        here = sources == source
        all_of, kept_of = _tally(raw_bytes, here), _tally(text_bytes, here & stayed)
        by_source[source] = {
            **all_of,
            "kept_documents": kept_of["documents"],
            "kept_bytes": kept_of["bytes"],
            "license": " AND ".join(sorted(set(licenses[here]))),
        }
    return {"steps": steps, "sources": by_source, "unreadable": [dict(each) for each in unreadable]}


def refuse_empty_corpus(funnel: Mapping[str, Any]) -> None:
    """Raise FromScratchError if no document is left, with the largest reasons in the hint."""
    if funnel["steps"][-1]["kept"]["documents"]:
        return
    read = funnel["steps"][0]["kept"]["documents"]
    if not read:
        unreadable = [f"{each['place']} ({each['why']})" for each in funnel["unreadable"]]
        raise FromScratchError(
            "no documents: the sources of `corpus.sources` gave none",
            f"unreadable: {'; '.join(unreadable[:3])}" if unreadable else "check their paths and globs",
        )
    losses = [
        (lost["documents"], reason, step["step"])
        for step in funnel["steps"]
        for reason, lost in step["dropped"].items()
    ]
    largest = ", ".join(f"{reason} {count:,} ({step})" for count, reason, step in sorted(losses, reverse=True)[:3])
    raise FromScratchError(
        f"nothing left after filtering: all {read:,} documents were dropped",
        f"the largest reasons: {largest}; `corpus.filters` decides what stays",
    )


def _tally(sizes: NDArray[np.int64], chosen: NDArray[np.bool_]) -> dict[str, int]:
    return {"documents": int(chosen.sum()), "bytes": int(sizes[chosen].sum())}
