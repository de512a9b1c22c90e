"""A plan that loses or doubles a byte, or does not fit its checkpoint, is refused by the tensor where it fails."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fromscratch.anatomy.convert.plan import (
    Output,
    Plan,
    Slice,
    Values,
    Zeros,
    check_plan,
    plan_from_json,
    plan_text,
)
from fromscratch.anatomy.tensors import Checkpoint, checkpoint_of_arrays
from fromscratch.core.errors import FromScratchError

UPPER = Slice("fused", (0, 4), (0, 6))
LOWER = Slice("fused", (4, 10), (0, 6))


def checkpoint() -> Checkpoint:
    arrays = {"fused": np.ones((10, 6), np.float32), "vector": np.ones(6, np.float32)}
    return checkpoint_of_arrays({**arrays, "counts": np.ones((2, 2), np.int64)})


def plan(*outputs: Output, **more: dict[str, str]) -> Plan:
    dropped = {"counts": "not a weight"}
    return Plan("memory", "arrays", "native", outputs, **{"dropped": dropped, **more})


def whole() -> Plan:
    """A plan with every kind of piece, in which each byte has its place."""
    return plan(
        Output("q", "a", (4, 6), "F32", (UPPER,)),
        Output("k", "a", (8, 6), "BF16", (replace(LOWER, regroup=(1, 2, 3)), Zeros((2, 6)))),
        Output("v", "b", (9,), "F32", (Slice("vector", (0, 6), (0, 1)), Values((1.0, 0.5, 0.25)))),
    )


def test_a_whole_plan_holds_and_comes_back_from_its_text() -> None:
    check_plan(whole(), checkpoint())
    assert plan_from_json(json.loads(plan_text(whole()))) == whole()


Q, K, V = whole().outputs
WRONG = {
    "6 of its numbers are not used": (Q, K),
    "a part of it is used twice": (*whole().outputs, replace(Q, name="again")),
    "written twice": (*whole().outputs, replace(Q, pieces=(LOWER,))),
    "not within the 10": (replace(Q, pieces=(Slice("fused", (8, 12), (0, 6)),)), K, V),
    "has not 6 columns": (replace(Q, pieces=(Slice("fused", (0, 4), (0, 5)),)), K, V),
    "4 rows and not 5": (replace(Q, shape=(5, 6)), K, V),
    "no input `other`": (replace(Q, pieces=(replace(UPPER, input="other"),)), K, V),
    "4 rows cannot be seen as": (replace(Q, pieces=(replace(UPPER, regroup=(3, 2, 1)),)), K, V),
    "Q8_0 needs rows of whole blocks": (replace(Q, kind="Q8_0"), K, V),
    "F32 cannot be cast to I8": (replace(Q, kind="I8"), K, V),
    "both dropped and used": (*whole().outputs, Output("c", "a", (2, 2), "I64", (Slice("counts", (0, 2), (0, 2)),))),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_does_not_hold_is_refused_with_its_reason(reason: str) -> None:
    with pytest.raises(FromScratchError, match=reason):
        check_plan(plan(*WRONG[reason]), checkpoint())


def test_integers_are_never_cast() -> None:
    counts = Output("c", "a", (2, 2), "F32", (Slice("counts", (0, 2), (0, 2)),))
    with pytest.raises(FromScratchError, match="I64 cannot be cast to F32"):
        check_plan(replace(plan(*whole().outputs, counts), dropped={}), checkpoint())


def test_a_byte_may_be_used_twice_only_for_a_reason_that_is_told() -> None:
    twice = plan(*whole().outputs, replace(Q, name="again"), repeated={"fused": "the head is the embedding"})
    check_plan(twice, checkpoint())


def test_what_is_dropped_has_to_be_there() -> None:
    with pytest.raises(FromScratchError, match="`nothing`: there is no such input"):
        check_plan(plan(*whole().outputs, dropped={"counts": "no weight", "nothing": "not there"}), checkpoint())


def test_only_whole_tensors_as_they_are_make_a_rename() -> None:
    matrix, vector = Slice("fused", (0, 10), (0, 6)), Slice("vector", (0, 6), (0, 1))
    renamed = plan(Output("x", "a", (10, 6), "F32", (matrix,)), Output("y", "a", (6,), "F32", (vector,)))
    assert renamed.renames(checkpoint()) == {"fused": "x", "vector": "y"}
    cast = replace(renamed, outputs=(replace(renamed.outputs[0], kind="F16"), renamed.outputs[1]))
    assert cast.renames(checkpoint()) is None
    assert whole().renames(checkpoint()) is None


@pytest.mark.parametrize("content", [{}, {"outputs": [{"name": "x"}]}, {"outputs": 3}])
def test_what_is_no_plan_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(FromScratchError, match="no plan of a conversion"):
        plan_from_json(content)
