"""Digests meet where numbers are equal: as they are, as a cast rounds them, in another order, transposed."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fromscratch.anatomy.relation.digests import BFLOAT16, FLOAT16, NATIVE, Digest, Digester


def numbers() -> NDArray[np.float32]:
    """Of all sizes that weights have, and some that they should not: subnormal in float16, beyond it, minus zero."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal((70, 50)) * np.exp(random.uniform(-18, 3, (70, 50)))
    matrix[0, :6] = (-0.0, 1e6, -65520.0, 1e-8, -2.98e-8, 6.1e-5)
    return matrix.astype(np.float32)


def digest_of(matrix: NDArray[np.generic], *, transposed: bool = False, rows_at_once: int = 7) -> Digest:
    shape = matrix.shape[::-1] if transposed else matrix.shape
    digester = Digester(shape[0], shape[1])
    for first in range(0, len(matrix), rows_at_once):
        digester.add(matrix[first : first + rows_at_once], first, transposed=transposed)
    return digester.digest()


def bits(tensor: torch.Tensor) -> NDArray[np.generic]:
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


@pytest.mark.parametrize("first", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("second", "precision"), [(torch.bfloat16, BFLOAT16), (torch.float16, FLOAT16)])
def test_a_cast_has_the_digest_that_was_foretold(first: torch.dtype, second: torch.dtype, precision: int) -> None:
    before = torch.from_numpy(numbers()).to(first)
    foretold, cast = digest_of(bits(before)), digest_of(bits(before.to(second)))
    assert foretold.whole[precision] == cast.whole[NATIVE] == cast.whole[precision]
    assert (foretold.rows[precision] == cast.rows[NATIVE]).all()
    assert cast.rounded(precision) and (first == second or not foretold.rounded(precision))


def test_the_size_of_blocks_does_not_matter() -> None:
    assert digest_of(numbers(), rows_at_once=1).whole == digest_of(numbers(), rows_at_once=70).whole


def test_a_transposed_matrix_is_known_both_when_told_and_by_its_columns() -> None:
    straight = digest_of(numbers())
    stored = np.ascontiguousarray(numbers().T)
    assert digest_of(stored, transposed=True).whole == straight.whole
    untold = digest_of(stored)
    assert untold.whole != straight.whole and (untold.rows == straight.columns).all()


def test_rows_in_another_order_are_one_set_and_columns_are_not() -> None:
    order = np.random.default_rng(1).permutation(70)
    straight, moved = digest_of(numbers()), digest_of(numbers()[order])
    assert moved.row_set == straight.row_set and moved.whole != straight.whole
    assert (moved.rows == straight.rows[:, order]).all()
    assert moved.column_set != straight.column_set


def test_two_rows_that_change_places_with_equal_ones_leave_no_gap() -> None:
    matrix = numbers()
    matrix[1] = matrix[0]
    other = matrix.copy()
    other[0] = other[1] = matrix[2]  # the pair of equal rows is another pair: a sum of sets must not cancel out
    assert digest_of(other).row_set != digest_of(matrix).row_set


@pytest.mark.parametrize("where", [(0, 0), (35, 7), (69, 49)])
def test_one_bit_changes_every_digest_that_holds_it(where: tuple[int, int]) -> None:
    matrix, other = numbers(), numbers()
    other.view(np.uint32)[where] ^= 1
    one, two = digest_of(matrix), digest_of(other)
    assert one.whole[NATIVE] != two.whole[NATIVE]
    assert np.flatnonzero(one.rows[NATIVE] != two.rows[NATIVE]).tolist() == [where[0]]
    assert np.flatnonzero(one.columns[NATIVE] != two.columns[NATIVE]).tolist() == [where[1]]


def test_minus_zero_is_zero() -> None:
    assert digest_of(np.zeros((2, 3), np.float32)).whole == digest_of(-np.zeros((2, 3), np.float32)).whole
