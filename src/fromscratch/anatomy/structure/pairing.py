"""Which matrices work together, found from the directions of their units.

n, m matrices · U unit · D number of the stream that is looked at
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.assignment import best_assignment

__all__ = ["Bond", "Pairs", "bonds", "pair_up"]

Stack = NDArray[np.float32]
"""[matrices, U, D]: unit directions of several matrices, their units in one order."""


@dataclass(frozen=True)
class Pairs:
    """For each of n matrices the one of m that it works with."""

    partner: NDArray[np.int64]
    strength: NDArray[np.float64]
    """Alignment of each pair, 1 for chance."""
    rival: NDArray[np.float64]
    """The strongest alignment that either had with any other."""

    @property
    def clear(self) -> NDArray[np.bool_]:
        """Pairs that are stronger than everything else, by more than chance could be (0.1 at 256 units)."""
        return (self.strength > 1.15 * self.rival) & (self.strength > 1.5)


Bond = NDArray[np.float64]


def bonds(one_nUD: Stack, other_mUD: Stack) -> Bond:
    """The alignment of each with each [n, m]: mean squared cosine of units with equal numbers, times D."""
    total_nm = np.zeros((len(one_nUD), len(other_mUD)))
    units, sampled = one_nUD.shape[1:]
    for unit in range(units):
        total_nm += (one_nUD[:, unit] @ other_mUD[:, unit].T) ** 2
    bond_nm: Bond = total_nm * (sampled / units)
    return bond_nm


def pair_up(bond_nm: Bond) -> Pairs:
    """The pairing with the largest sum of logarithms."""
    log_nm = np.log(bond_nm + 1e-6)
    partner = best_assignment(log_nm)
    row = np.arange(len(bond_nm))
    others = bond_nm.copy()
    others[row, partner] = 0
    rival = np.maximum(others.max(1, initial=0), others[:, partner].max(0, initial=0))
    return Pairs(partner, bond_nm[row, partner], rival)
