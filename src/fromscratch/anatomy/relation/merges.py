"""Whether a model is a mean of others: shares by least squares among the changes that the parents differ in.

With one parent as the origin, a linear merge is child - p₀ = Σ wₖ (pₖ - p₀); the shares of all parents add up to one.
A spherical merge (SLERP, Shoemake 1985) of two parents is child = α p₀ + β p₁, α / β = sin((1 - t) θ) / sin(t θ), with
the angle θ between the two as vectors, tensor by tensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.relation.fingerprint import Fingerprint
from fromscratch.anatomy.relation.judgement import Share
from fromscratch.anatomy.relation.sampling import Sample

__all__ = ["Merge", "find_merge"]

Matrix = NDArray[np.float64]

EXPLAINED_AT_LEAST = 0.9
SHARE_AT_LEAST = 0.02
BETWEEN = (-0.02, 1.02)
APART_AT_LEAST = 1e-6  # ‖p₁ - p₀‖ / ‖p₀‖ below which a tensor says nothing


@dataclass(frozen=True)
class Merge:
    """A child explained by its parents."""

    kind: Literal["linear", "spherical"]
    shares: tuple[Share, ...]
    explained: float
    """Share of ‖child - p₀‖² that the merge leaves no trace of; 1 for a merge and nothing else."""


def find_merge(child: Fingerprint, parents: Sequence[Fingerprint]) -> Merge | None:
    """The merge of these parents that the child is; None where it is none, or one parent would do.

    All must be numbered alike, as models are that came from one base. Of a linear and a spherical merge the one that
    leaves less is taken, and the linear one if both leave the same. The chance that a model that has nothing to do with
    a second parent leans towards it by 90 % of its change is nil: in n numbers it is 1/n that is expected.
    """
    tensors = _tensors(child, parents)
    if len(parents) < 2 or not tensors:
        return None
    fits = [_fit("linear", tensors, parents)]
    if len(parents) == 2:
        fits.append(_fit("spherical", tensors, parents))
    best = max(fits, key=lambda fit: round(fit.explained, 4))
    weights = [share.weight for share in best.shares]
    between = all(BETWEEN[0] <= weight <= BETWEEN[1] for weight in weights)
    several = sum(weight >= SHARE_AT_LEAST for weight in weights) > 1
    return best if best.explained >= EXPLAINED_AT_LEAST and between and several else None


def _tensors(child: Fingerprint, parents: Sequence[Fingerprint]) -> list[tuple[NDArray[np.float64], Matrix]]:
    """For each matrix that all hold in one shape: the child's numbers [n], and the parents' [parents, n]."""
    found = []
    for slot, each in child.slots.items():
        if min(each.shape) < 2 or any(
            slot not in other.slots or other.slots[slot].shape != each.shape for other in parents
        ):
            continue
        samples = [each.sample, *(other.slots[slot].sample for other in parents)]
        numbers = np.stack([values.reshape(-1) for values in _held_by_all(samples)]).astype(np.float64)
        apart = np.linalg.norm(numbers[2:] - numbers[1], axis=1) / max(1e-30, float(np.linalg.norm(numbers[1])))
        if apart.size and apart.min() > APART_AT_LEAST:
            found.append((numbers[0], numbers[1:]))
    return found


def _held_by_all(samples: Sequence[Sample]) -> list[NDArray[np.float32]]:
    rows, columns = samples[0].rows, samples[0].columns
    for each in samples[1:]:
        rows, columns = np.intersect1d(rows, each.rows), np.intersect1d(columns, each.columns)
    return [each.at(rows, columns) for each in samples]


def _fit(
    kind: Literal["linear", "spherical"],
    tensors: list[tuple[NDArray[np.float64], Matrix]],
    parents: Sequence[Fingerprint],
) -> Merge:
    shares, left, there = [], 0.0, 0.0
    for child, numbers in tensors:
        weights, rest = _linear(child, numbers) if kind == "linear" else _spherical(child, numbers)
        shares.append(weights)
        there += float(((child - numbers[0]) ** 2).sum())
        left += float((rest**2).sum())
    means, spreads = np.mean(shares, axis=0), np.std(shares, axis=0)
    named = tuple(Share(each.place, float(m), float(s)) for each, m, s in zip(parents, means, spreads, strict=True))
    return Merge(kind, named, 1 - left / there if there else 0.0)


def _linear(child: NDArray[np.float64], parents: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares that add up to one, and what they leave."""
    changes = (parents[1:] - parents[0]).T
    weights = np.linalg.lstsq(changes, child - parents[0], rcond=None)[0]
    return np.array([1 - weights.sum(), *weights]), child - parents[0] - changes @ weights


def _spherical(child: NDArray[np.float64], parents: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares 1 - t and t of the arc between two parents, and what the point on it nearest to the child leaves."""
    lengths = np.linalg.norm(parents, axis=1)
    angle = float(np.arccos(np.clip(parents[0] @ parents[1] / lengths.prod(), -1, 1)))
    if angle < 1e-3:
        return _linear(child, parents)
    alpha, beta = np.linalg.lstsq(parents.T, child, rcond=None)[0]
    t = float(np.arctan2(beta * np.sin(angle), alpha + beta * np.cos(angle))) / angle
    arc = np.array([np.sin((1 - t) * angle), np.sin(t * angle)]) / np.sin(angle)
    return np.array([1 - t, t]), child - arc @ parents
