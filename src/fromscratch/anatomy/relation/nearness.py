"""What lies between two aligned tensors: how far they are apart, a quantisation, an update of low rank.

R row · C column
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lattice", "cosine", "lattice", "rank_of_change", "relative"]

Values = NDArray[np.float32]

LEVELS_AT_MOST = 300
GRID_TOLERANCE = 0.05  # of a step
BLOCKS_AT_LEAST = 0.9
ROUNDING = {"F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}  # greatest relative error of rounding to nearest


@dataclass(frozen=True)
class Lattice:
    """A quantisation: within blocks of 32 numbers of a row, all are multiples of one step apart."""

    levels: int
    """Median number of steps between the least and the greatest of a block."""
    share: float
    """Of blocks in which this is so."""
    within: float
    """Share of numbers of the other tensor that are less than a step away."""


def cosine(a: Values, b: Values) -> float:
    """Of two tensors as vectors; 0 where one is zero."""
    size = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.vdot(a, b)) / size if size else 0.0


def relative(a: Values, b: Values) -> float:
    """‖b - a‖ / ‖a‖."""
    size = float(np.linalg.norm(a))
    return float(np.linalg.norm(b - a)) / size if size else float(np.linalg.norm(b) > 0)


def lattice(original: Values, values_RC: Values, block: int = 32) -> Lattice | None:
    """Whether ``values_RC`` lie on a grid, block by block along rows, and ``original`` within a step of them.

    Of 32 numbers with no grid, all fall within 5 % of a step of one with a chance below 6 · 0.1^30.
    None where fewer than 90 % of blocks do.
    """
    columns = values_RC.shape[1] // block * block
    if not columns:
        return None
    blocks = values_RC[:, :columns].reshape(-1, block).astype(np.float64)
    before = original[:, :columns].reshape(-1, block)
    some = np.linspace(0, len(blocks) - 1, min(len(blocks), 512)).astype(int)
    steps = np.array([_step(blocks[index]) for index in some])
    known = steps > 0
    flat = np.ptp(blocks[some], axis=1) == 0
    share = float((known | flat).mean())
    if share < BLOCKS_AT_LEAST or not known.any():
        return None
    errors = np.abs(before[some][known] - blocks[some][known]) / steps[known, None]
    levels = int(np.median(np.ptp(blocks[some][known], axis=1) / steps[known]))
    return Lattice(levels, share, float((errors < 1.02).mean()))


def _step(block: NDArray[np.float64]) -> float:
    """The step of the coarsest grid on which all numbers of a block lie; 0 if there is none of at most 300 levels."""
    gaps = np.diff(np.sort(block))
    gaps = gaps[gaps > 1e-6 * np.abs(block).max()]
    if not len(gaps):
        return 0.0
    for part in range(1, 7):
        step = gaps.min() / part
        if gaps.sum() / step > LEVELS_AT_MOST:
            return 0.0
        if (np.abs(gaps / step - np.round(gaps / step)) < GRID_TOLERANCE).all():
            return float(step)
    return 0.0


def rank_of_change(a_RC: Values, b_RC: Values, kinds: tuple[str, str]) -> int | None:
    """Rank of b - a if it is well below full, else None; what rounding adds to every direction is no rank.

    A part of the rows and columns of a matrix of low rank has that rank too, as long as it is smaller than the part.
    """
    change = b_RC.astype(np.float64) - a_RC
    smallest = min(change.shape)
    if smallest < 8 or not change.any():
        return None
    sizes = np.linalg.svd(change, compute_uv=False)
    rounding = max(ROUNDING.get(kind, 2.0**-24) for kind in kinds)
    scale = float(np.sqrt((a_RC.astype(np.float64) ** 2).mean()))
    floor = max(2 * rounding * scale * (change.shape[0] ** 0.5 + change.shape[1] ** 0.5), 1e-6 * sizes[0])
    rank = int((sizes > floor).sum())
    return rank if 0 < rank <= smallest // 4 else None
