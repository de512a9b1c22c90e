"""One model against many fingerprints, read once: which of them it comes from, and whether from several."""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

from fromscratch.anatomy.compare import Side, print_of, side_of
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.fingerprint import Fingerprint
from fromscratch.anatomy.relation.fingerprint_file import load_fingerprint, save_fingerprint
from fromscratch.anatomy.relation.judgement import WeightVerdict
from fromscratch.anatomy.relation.statistics import holm
from fromscratch.core.errors import FromScratchError

__all__ = ["SUFFIX", "Candidate", "Ranking", "compare_among", "write_fingerprint"]

SUFFIX = ".fingerprint"
PARENTS_AT_MOST = 6  # of a merge; shares of more are not told apart by what parents differ in


@dataclass(frozen=True)
class Candidate:
    """One fingerprint, and what it has to do with the model."""

    file: str
    place: str
    """Where the model was that the fingerprint was taken of."""
    verdict: WeightVerdict
    """The candidate is its a, the model its b."""
    log10_p: float
    """Bound of the p-value of having nothing to do with the model, corrected for all tests of all candidates."""


@dataclass(frozen=True)
class Ranking:
    """All candidates, the nearest first."""

    model: Side
    candidates: tuple[Candidate, ...]
    merge: WeightVerdict | None
    """Where the model is a mean of several candidates: what was found with all of them as parents."""
    seconds: float


def write_fingerprint(place: str | Path, file: Path | None = None, *, blind: bool = False) -> tuple[Path, Fingerprint]:
    """Read a model once and write its fingerprint, as NAME.fingerprint in this folder where no file is named."""
    checkpoint = open_checkpoint(place)
    made = print_of(checkpoint, side_of(checkpoint, blind).structure)
    path = file or Path(f"{Path(str(place)).name or 'model'}{SUFFIX}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_fingerprint(made, path)
    return path, made


def compare_among(place: str | Path, folder: Path, *, blind: bool = False) -> Ranking:
    """Compare a model with every fingerprint of a folder; the model is read once, and the others not at all.

    Raises FromScratchError for a folder that holds no fingerprints.
    """
    began = time.monotonic()
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise FromScratchError(
            f"{folder}: no fingerprints (*{SUFFIX})", "make some with `fromscratch fingerprint MODEL`"
        )
    checkpoint = open_checkpoint(place)
    side = side_of(checkpoint, blind)
    model = print_of(checkpoint, side.structure)
    known = {file: load_fingerprint(file) for file in files}
    candidates = _corrected([_candidate(file, each, model) for file, each in known.items()])
    ranked = sorted(candidates, key=_nearness, reverse=True)
    related = [known[folder / each.file] for each in ranked if each.verdict.relation.is_lineage]
    merge = None
    if 1 < len(related) <= PARENTS_AT_MOST:
        found = compare_weights(related[0], model, others=related[1:])
        merge = found if found.parents else None
    return Ranking(side, tuple(ranked), merge, time.monotonic() - began)


def _candidate(file: Path, candidate: Fingerprint, model: Fingerprint) -> Candidate:
    verdict = compare_weights(candidate, model)
    if not verdict.tests:
        certain = verdict.relation.is_lineage  # digests of all numbers agree
        return Candidate(file.name, candidate.place, verdict, -math.inf if certain else 0.0)
    least = min(test.log10_p for test in verdict.tests) + math.log10(len(verdict.tests))
    return Candidate(file.name, candidate.place, verdict, min(0.0, least))


def _corrected(candidates: list[Candidate]) -> list[Candidate]:
    """With p-values after Holm's correction (1979) for the number of candidates."""
    corrected = holm([each.log10_p * math.log(10) for each in candidates])
    return [replace(each, log10_p=log_p / math.log(10)) for each, log_p in zip(candidates, corrected, strict=True)]


def _nearness(candidate: Candidate) -> tuple[bool, float, float]:
    """Lineage first, then by how near the numbers are, then by the p-value."""
    distances = candidate.verdict.distances
    exact = candidate.verdict.relation.is_lineage and not distances
    cosine = 1.0 if exact else sum(each.cosine for each in distances) / max(1, len(distances))
    return candidate.verdict.relation.is_lineage, cosine, -candidate.log10_p
