"""Mixed documents: Chinese and English in separate paragraphs, each part judged by the bounds of its language."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fromscratch.core.settings import Settings
from fromscratch.corpus.filters.filter import Batch, Objects, Verdict
from fromscratch.corpus.kernels.metrics import Metric

__all__ = ["Mixed", "judge_parts"]

LANGUAGES = ("zh", "en")  # as kernels_parts labels lines
JudgeMetrics = Callable[[Objects, Objects, NDArray[np.float32]], tuple[Objects, Objects]]


class Mixed(Settings):
    """When a document counts as two: a page half translated, or with the original below. Ours, all of them."""

    least_share: float = Field(default=0.15, gt=0, le=0.5)
    """Share of a document's letters that each of its parts must have, in lines of their own. English terms within
    Chinese sentences make no part."""

    least_letters: int = Field(default=60, ge=1)
    """And so many letters."""


class _Part(NamedTuple):
    document: int
    label: int
    text: str


def judge_parts(batch: Batch, settings: Mixed, judge: JudgeMetrics, whole: Verdict) -> Verdict:
    """The verdict on a batch, with that on its mixed documents instead of ``whole``.

    A part that fails is cut; the lines of the other stay in their order, and its language becomes the document's. A
    document is dropped when both fail, for the reason of its longer part.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = _split(batch, settings)
    if not found:
        return whole
    documents = np.array([part.document for part in found])
    texts = [part.text for part in found]
    spoken = np.array([LANGUAGES[part.label] for part in found], object)
    metrics = batch.measure(pa.array(texts, pa.large_string()))
    part_reasons, part_evidence = judge(spoken, batch.domains[documents], metrics)
    reasons, evidence = whole.reasons.copy(), (whole.evidence if whole.evidence is not None else whole.reasons).copy()
    languages, changed = batch.languages.copy(), {}
    # A loop over mixed documents, which are few.
    for first in range(0, len(found), 2):
        place, both = found[first].document, range(first, first + 2)
        kept = [part for part in both if part_reasons[part] is None]
        longer = max(both, key=lambda part: len(texts[part]))
        reasons[place] = evidence[place] = None
        if not kept:
            reasons[place] = part_reasons[longer]
            evidence[place] = f"of its part in {spoken[longer]}: {part_evidence[longer]}"
        elif len(kept) == 1:
            changed[place], languages[place] = texts[kept[0]], spoken[kept[0]]
    if not changed:
        return Verdict(reasons, evidence)
    mask = np.zeros(len(batch), np.bool_)
    mask[list(changed)] = True
    new = pc.replace_with_mask(batch.texts, pa.array(mask), pa.array(list(changed.values()), pa.large_string()))
    return Verdict(reasons, evidence, {"language": languages}, new)


def _split(batch: Batch, settings: Mixed) -> list[_Part]:
    """The two parts of each mixed document, one after the other."""
    import pyarrow as pa

    from fromscratch.corpus.kernels.characters import character_tables
    from fromscratch.corpus.kernels.parts import label_lines
    from fromscratch.corpus.kernels.text_buffers import text_buffers

    han = batch.metrics[:, Metric.HAN_SHARE]
    # Of the letters in Chinese lines some are Latin, so that Han may have less than the share of those lines.
    asked = (batch.languages != "code") & (han > 0.1 * settings.least_share) & (han < 1 - settings.least_share)
    places = np.flatnonzero(asked)
    data, offsets = text_buffers(batch.texts.take(pa.array(places)))
    letters, firsts, ends, labels = label_lines(data, offsets, character_tables().classes)
    least = np.maximum(settings.least_share * letters[:, 2], settings.least_letters)
    parts = []
    for each in np.flatnonzero((letters[:, :2] >= least[:, None]).all(axis=1)).tolist():
        begun = offsets[each]
        lines: tuple[list[str], list[str]] = [], []
        for line in range(firsts[each], firsts[each + 1]):
            lines[labels[line]].append(data[begun : ends[line]].tobytes().decode())
            begun = ends[line] + 1
        parts += [_Part(int(places[each]), label, "\n".join(lines[label]).strip("\n")) for label in range(2)]
    return parts
