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
BLOCKS_TRIED, GLANCE = 128, 8
RANK_ROWS = 512  # and columns: a rank of up to 128 shows
ROUNDING = {"F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}  # greatest relative error of rounding to nearest


@dataclass(frozen=True)
class Lattice:
    """A quantisation: within blocks of 32 numbers of a row, all are whole steps apart."""

    a: bool
    """Whether a's numbers lie on a grid."""
    b: bool
    levels: int
    """Median number of steps between the least and the greatest number of a block, on the coarser grid."""
    within: float
    """Share of numbers that are nearer to each other than a step (of each grid, if both lie on one)."""


def cosine(a: Values, b: Values) -> float:
    """Of two tensors as vectors; 0 where one is zero."""
    size = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.vdot(a, b)) / size if size else 0.0


def relative(a: Values, b: Values) -> float:
    """‖b - a‖ / ‖a‖."""
    size = float(np.linalg.norm(a))
    return float(np.linalg.norm(b - a)) / size if size else float(np.linalg.norm(b) > 0)


def lattice(a_RC: Values, b_RC: Values, block: int = 32) -> Lattice | None:
    """Whether a's or b's numbers lie on a grid, block by block along rows; None where neither does.

    Of 32 numbers with no grid, all fall within 5 % of a step of one with a chance below 6 · 0.1^30.
    """
    columns = b_RC.shape[1] // block * block
    if not columns:
        return None
    blocks = [each[:, :columns].reshape(-1, block).astype(np.float64) for each in (a_RC, b_RC)]
    some = np.linspace(0, len(blocks[0]) - 1, min(len(blocks[0]), BLOCKS_TRIED)).astype(int)
    a, b = (each[some] for each in blocks)
    steps = np.array([_steps(each) for each in (a, b)])
    on_grid = [bool(each.any()) for each in steps]
    if not any(on_grid):
        return None
    levels = np.ptp(b if on_grid[1] else a, axis=1) / np.maximum(steps.max(0), 1e-30)
    within = np.abs(b - a) <= 1.02 * steps.sum(0)[:, None]
    return Lattice(on_grid[0], on_grid[1], int(np.median(levels)), float(within.mean()))


def _steps(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The step of each block; zeros where fewer than 90 % of the blocks have one."""
    if not any(_step(block) for block in blocks[:GLANCE]):
        return np.zeros(len(blocks))
    steps = np.array([_step(block) for block in blocks])
    flat = np.ptp(blocks, axis=1) == 0
    return steps if ((steps > 0) | flat).mean() >= BLOCKS_AT_LEAST and steps.any() else np.zeros(len(blocks))


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
    a_RC, b_RC = a_RC[:RANK_ROWS, :RANK_ROWS], b_RC[:RANK_ROWS, :RANK_ROWS]
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
