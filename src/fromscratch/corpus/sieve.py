"""Documents through the cascade: each filter sees what the ones before it have left."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fromscratch.corpus.cascade import SHARD_STEPS, Cascade, filter_columns
from fromscratch.corpus.filters.filter import Batch

__all__ = ["Sieved", "sieve"]


@dataclass(frozen=True)
class Sieved:
    """What the cascade made of a batch; every column has one entry for each document."""

    batch: Batch
    """The documents, with the texts and languages that the filters gave them."""
    step: NDArray[np.object_]
    """Which step of `SHARD_STEPS` dropped a document; None where it is left."""
    reason: NDArray[np.object_]
    evidence: NDArray[np.object_]
    columns: dict[str, NDArray[Any]]
    """The filters' own columns; None, or NaN in those of numbers, where a filter did not look."""
    step_bytes: NDArray[np.int64]
    """Bytes [documents, steps] after each step; a dropped document keeps those that it had."""


def sieve(batch: Batch, errors: NDArray[np.object_], raw_bytes: NDArray[np.int64], cascade: Cascade) -> Sieved:
    """Let the filters judge the documents of a batch, without those for which ``errors`` names a failed extraction."""
    count = len(batch)
    step, evidence = (np.full(count, None, dtype=object) for _ in range(2))
    reason = errors.copy()
    step[errors != None] = "extract"  # noqa: E711 (element by element)
    columns: dict[str, NDArray[Any]] = {
        name: np.full(count, None, dtype=object) if kind == "string" else np.full(count, np.nan, kind)
        for name, kind in filter_columns().items()
    }
    step_bytes = np.empty((count, len(SHARD_STEPS)), np.int64)
    step_bytes[:] = raw_bytes[:, None]
    step_bytes[:, SHARD_STEPS.index("extract") :] = _bytes(batch.texts)[:, None]
    for name, each in cascade.present():
        left = np.flatnonzero(step == None)  # noqa: E711
        if not len(left):
            break
        verdict = each.judge(batch.take(left))
        for column, values in verdict.columns.items():
            columns[column][left] = values
        if "language" in verdict.columns:
            batch.languages = columns["language"]
        failed = verdict.reasons != None  # noqa: E711
        step[left[failed]] = name
        reason[left] = verdict.reasons
        if verdict.evidence is not None:
            evidence[left] = verdict.evidence
        if verdict.texts is not None:
            _change_texts(batch, left, verdict.texts)
            step_bytes[:, SHARD_STEPS.index(name) :] = _bytes(batch.texts)[:, None]
    return Sieved(batch, step, reason, evidence, columns, step_bytes)


def _bytes(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = pc.binary_length(texts).to_numpy()
    return lengths


def _change_texts(batch: Batch, places: NDArray[np.int64], texts: pa.LargeStringArray) -> None:
    """Put new texts at these places, and measure again those that differ."""
    differ = np.asarray(pc.not_equal(texts, batch.texts.take(pa.array(places))))
    if not differ.any():
        return
    order = np.arange(len(batch))
    order[places[differ]] = len(batch) + np.arange(differ.sum())
    changed = texts.filter(pa.array(differ))
    if batch.measured is not None:
        batch.measured = batch.measured.copy()
        batch.measured[places[differ]] = batch.measure(changed)
    batch.texts = pa.concat_arrays([batch.texts, changed]).take(pa.array(order))
