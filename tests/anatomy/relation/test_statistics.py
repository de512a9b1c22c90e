"""The bounds hold where chance can be simulated, and say what they should where they can be computed by hand."""

import math

import numpy as np
import pytest

from fromscratch.anatomy.relation.statistics import (
    hits_log_p,
    holm,
    increasing_log_p,
    increasing_run,
    layers_log_p,
    log10,
    nearest,
)

DRAWS = 4000
UNITS = 256


def hubs(random: np.random.Generator) -> np.ndarray:
    """A nearest-unit map as real weights give it: some units are near to many."""
    return np.minimum(random.geometric(0.03, UNITS), UNITS - 1)


def relabelled_hits(asked: int) -> np.ndarray:
    """Hits of a map with hubs, once units of b are numbered by chance; ``asked`` units of a, picked by chance."""
    random = np.random.default_rng(0)
    found = np.empty(DRAWS, np.int64)
    for draw in range(DRAWS):
        place = random.permutation(UNITS)[hubs(random)]
        chosen = random.permutation(UNITS)[:asked]
        found[draw] = (place[chosen] == chosen).sum()
    return found


@pytest.mark.parametrize("asked", [UNITS, UNITS // 4])
def test_hits_of_chance_are_no_more_frequent_than_the_bound_says(asked: int) -> None:
    hits = relabelled_hits(asked)
    for least in range(1, 7):
        bound = math.exp(hits_log_p(least, asked, UNITS))
        error = math.sqrt(bound * (1 - min(bound, 0.999)) / DRAWS)
        assert (hits >= least).mean() <= bound + 4 * error
    assert hits.mean() > 0.5 * asked / UNITS  # chance does hit: the simulation tests something


def test_layers_of_chance_are_no_more_frequent_than_the_bound_says() -> None:
    hits = relabelled_hits(UNITS).reshape(-1, 8)
    log_ps = np.array([layers_log_p(each.tolist()) for each in hits])
    for level in (0.5, 0.2, 0.1, 0.05, 0.02):
        assert (log_ps <= math.log(level)).mean() <= level + 3 * math.sqrt(level / len(hits))


def test_all_hits_of_a_wide_layer_are_a_number_that_a_float_could_not_hold() -> None:
    assert log10(hits_log_p(512, 512, 512)) == pytest.approx(-math.lgamma(513) / math.log(10))
    assert log10(hits_log_p(512, 512, 512)) < -1000
    assert hits_log_p(0, 512, 512) == 0.0 and layers_log_p([1, 1, 1]) == 0.0


def test_the_longest_run_is_found_and_its_bound_holds() -> None:
    assert increasing_run([5, 1, 2, 9, 3, 4]) == 4
    assert increasing_run([2, 2, 2]) == 1 and increasing_run([-1, 3, -1, 4]) == 2
    random = np.random.default_rng(0)
    runs = np.array([increasing_run(random.permutation(100).tolist()) for _ in range(2000)])
    for run in range(18, 30):
        bound = math.exp(increasing_log_p(run, 100))
        assert (runs >= run).mean() <= bound + 3 * math.sqrt(bound / 2000)
    assert log10(increasing_log_p(384, 384)) < -800


def test_ties_and_zeros_find_nobody() -> None:
    rows = np.eye(4, dtype=np.float32)
    assert nearest(rows, rows).tolist() == [0, 1, 2, 3]
    assert nearest(rows, np.ones((4, 4), np.float32)).tolist() == [-1] * 4
    rows[2] = 0
    assert nearest(rows, np.eye(4, dtype=np.float32)).tolist() == [0, 1, -1, 3]


def test_holm_pays_for_every_candidate_and_keeps_the_order() -> None:
    log_ps = [math.log(p) for p in (0.01, 0.04, 0.03)]
    assert [math.exp(each) for each in holm(log_ps)] == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.0, 0.0]) == [0.0, 0.0]
