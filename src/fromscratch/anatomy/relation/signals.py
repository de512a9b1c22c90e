"""Tests of whether two models number their units alike, on what their fingerprints hold of them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.relation.fingerprint import Fingerprint
from fromscratch.anatomy.relation.judgement import Test
from fromscratch.anatomy.relation.sampling import Places
from fromscratch.anatomy.relation.slots import Slot
from fromscratch.anatomy.relation.statistics import (
    HIT_BOUND,
    HIT_LIMITS,
    LAYERS_BOUND,
    hits_log_p,
    layers_log_p,
    log10,
    nearest,
)
from fromscratch.anatomy.structure.roles import Role

__all__ = ["LayerHits", "layer_hits", "layer_test", "repeats", "unit_test", "width_features", "width_test"]

Values = NDArray[np.float32]

COSINES_AT_MOST = 1 << 24  # between units of all pairs of layers; many layers are told apart by fewer units of each
UNITS_AT_LEAST = 128


@dataclass(frozen=True)
class LayerHits:
    """Hits of MLP units between every layer of a and every layer of b."""

    hits: NDArray[np.int64]
    """[layers of a, layers of b]"""
    units: int
    """How many units were asked, among as many."""


def width_features(a: Fingerprint, b: Fingerprint) -> tuple[Values, Values]:
    """The column of each dimension of the residual stream in embedding and head, over tokens of both: [D, tokens].

    Both tables share the numbering of the stream, so they make one test together, not two.
    """
    both: list[tuple[Values, Values]] = []
    for role in (Role.EMBEDDING, Role.HEAD):
        slot = Slot(role)
        if slot in a.slots and slot in b.slots:
            one, other = a.slots[slot].sample, b.slots[slot].sample
            rows = np.intersect1d(one.rows, other.rows)
            both.append((one.at(rows, one.columns).T, other.at(rows, other.columns).T))
    if not both:
        return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
    return np.hstack([one for one, _ in both]), np.hstack([other for _, other in both])


def width_test(a: Fingerprint, b: Fingerprint) -> Test:
    """Whether dimension i of a's residual stream is dimension i of b's."""
    one, other = width_features(a, b)
    count = min(len(one), len(other))
    hits = int((nearest(one[:count], other[:count]) == np.arange(count)).sum())
    observed = f"{hits} of {count} dimensions of the residual stream find themselves by their column of the embedding"
    log_p = hits_log_p(hits, count, count) if count else 0.0
    return Test("dimensions of the residual stream", log10(log_p), observed, HIT_BOUND, HIT_LIMITS)


def layer_hits(a: Fingerprint, b: Fingerprint) -> LayerHits:
    """How many MLP units of each layer of a find themselves in each layer of b, by their gates and ups."""
    hits = np.zeros((a.layers, b.layers), np.int64)
    most = max(UNITS_AT_LEAST, int((COSINES_AT_MOST / max(1, hits.size)) ** 0.5))
    first_a, first_b = a.slots.get(Slot(Role.UP, 0)), b.slots.get(Slot(Role.UP, 0))
    if first_a is None or first_b is None:
        return LayerHits(hits, 0)
    rows = np.intersect1d(first_a.sample.rows, first_b.sample.rows)[:most]
    columns = np.intersect1d(first_a.sample.columns, first_b.sample.columns)
    ours = [_units_at(a, b, layer, rows, columns) for layer in range(a.layers)]
    theirs = [_units_at(b, a, layer, rows, columns) for layer in range(b.layers)]
    for i, one in enumerate(ours):
        for j, other in enumerate(theirs):
            if one.shape == other.shape:
                hits[i, j] = (nearest(one, other) == np.arange(len(one))).sum()
    return LayerHits(hits, len(rows))


def _units_at(each: Fingerprint, other: Fingerprint, layer: int, rows: Places, columns: Places) -> Values:
    """Gates, where both have them, and ups of a layer, side by side; nothing where it is shaped unlike the first."""
    roles = [role for role in (Role.GATE, Role.UP) if Slot(role, 0) in each.slots and Slot(role, 0) in other.slots]
    slots = [each.slots.get(Slot(role, layer)) for role in roles]
    shape = each.slots[Slot(Role.UP, 0)].shape
    if any(slot is None or slot.shape != shape for slot in slots):
        return np.zeros((0, 0), np.float32)
    return np.hstack([slot.sample.at(rows, columns) for slot in slots if slot is not None])


def repeats(each: Fingerprint) -> bool:
    """Whether two layers of one model have the same units, as after depth up-scaling."""
    found = layer_hits(each, each)
    off_diagonal = LayerHits(np.where(np.eye(each.layers, dtype=bool), 0, found.hits), found.units)
    return any(layer_test(off_diagonal, int(off_diagonal.hits[:, j].argmax()), j) < -6 for j in range(each.layers))


def unit_test(found: LayerHits, layers: dict[int, int]) -> Test:
    """Layers combined: unit u of b's layer against unit u of the layer of a that it is said to come from.

    A map of layers other than the identity was chosen among many; that is paid for by their number (Bonferroni).
    """
    chosen = [int(found.hits[i, j]) for j, i in layers.items()]
    log_p = layers_log_p(chosen) if chosen else 0.0
    identity = all(i == j for j, i in layers.items())
    if not identity or found.hits.shape[0] != found.hits.shape[1]:
        log_p = min(0.0, log_p + len(chosen) * math.log(found.hits.shape[0]))
    observed = f"{sum(chosen)} of {len(chosen) * found.units} MLP units find themselves, in {len(chosen)} layers"
    return Test("units of the MLP", log10(log_p), observed, f"{HIT_BOUND}; {LAYERS_BOUND}", HIT_LIMITS)


def layer_test(found: LayerHits, i: int, j: int) -> float:
    """log10 of the bound for one pair of layers, picked as the best of a's."""
    log_p = hits_log_p(int(found.hits[i, j]), found.units, found.units) if found.units else 0.0
    return log10(min(0.0, log_p + math.log(found.hits.shape[0])))
