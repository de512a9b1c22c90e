"""Grids of quantisations and updates of low rank are seen, and rounding is taken for neither."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fromscratch.anatomy.relation.nearness import lattice, rank_of_change
from tests.anatomy.blocks import through_blocks

Values = NDArray[np.float32]


def weights(rows: int = 96, columns: int = 128) -> Values:
    return np.random.default_rng(0).normal(0, 0.02, (rows, columns)).astype(np.float32)


def in_bfloat16(values: Values) -> Values:
    return ((values.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize(("kind", "levels"), [("Q8_0", 300), ("Q4_0", 16), ("Q4_1", 16)])
def test_a_grid_is_seen_in_either_model(kind: str, levels: int) -> None:
    before = weights()
    after = through_blocks(before, kind)
    there, back = lattice(before, after), lattice(after, before)
    assert there is not None and back is not None
    assert (there.a, there.b) == (False, True) and (back.a, back.b) == (True, False)
    assert there.levels <= levels and there.within == 1.0 == back.within


def test_two_grids_of_one_model_are_within_both_steps() -> None:
    found = lattice(through_blocks(weights(), "Q4_0"), through_blocks(weights(), "Q8_0"))
    assert found is not None and found.a and found.b and found.within > 0.999


def test_a_model_that_was_tuned_before_is_not_within_a_step() -> None:
    tuned = weights() + np.random.default_rng(1).normal(0, 0.01, weights().shape).astype(np.float32)
    found = lattice(weights(), through_blocks(tuned, "Q8_0"))
    assert found is not None and found.within < 0.5


@pytest.mark.parametrize(
    "rounded", [weights(), in_bfloat16(weights()), weights().astype(np.float16).astype(np.float32)]
)
def test_floating_numbers_are_no_grid(rounded: Values) -> None:
    assert lattice(weights(), rounded) is None


def test_numbers_that_keep_apart_are_no_grid() -> None:
    random = np.random.default_rng(4)
    apart = np.tile(np.arange(32), (96, 4)) + random.uniform(-0.3, 0.3, (96, 128))
    assert lattice(weights(), apart.astype(np.float32)) is None


@pytest.mark.parametrize("kinds", [("F32", "F32"), ("F32", "BF16"), ("BF16", "BF16")])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_rank_of_an_update_is_counted_through_rounding(kinds: tuple[str, str], rank: int) -> None:
    random = np.random.default_rng(2)
    update = random.normal(0, 0.02, (96, rank)) @ random.normal(0, 1, (rank, 128)) / rank**0.5
    before, after = weights(), weights() + update.astype(np.float32)
    before = in_bfloat16(before) if kinds[0] == "BF16" else before
    after = in_bfloat16(after) if kinds[1] == "BF16" else after
    assert rank_of_change(before, after, kinds) == rank


def test_a_full_update_and_rounding_alone_have_no_low_rank() -> None:
    noise = np.random.default_rng(3).normal(0, 0.002, weights().shape).astype(np.float32)
    assert rank_of_change(weights(), weights() + noise, ("F32", "F32")) is None
    assert rank_of_change(weights(), in_bfloat16(weights()), ("F32", "BF16")) is None
    assert rank_of_change(weights(), weights(), ("F32", "F32")) is None
