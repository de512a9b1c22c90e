"""Assignments are the best there are."""

from itertools import permutations

import numpy as np
import pytest

from fromscratch.anatomy.structure.assignment import best_assignment


@pytest.mark.parametrize("seed", range(40))
def test_no_other_assignment_is_better(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = int(random.integers(1, 6))
    score = random.normal(size=(rows, rows + int(random.integers(0, 3)))).round(1)  # rounded, so that there are ties
    column = best_assignment(score)
    assert len(set(column.tolist())) == rows
    best = max(sum(score[i, each[i]] for i in range(rows)) for each in permutations(range(score.shape[1]), rows))
    assert score[np.arange(rows), column].sum() == pytest.approx(best)
