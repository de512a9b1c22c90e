"""Shares of a merge are recovered, and what is no merge is not called one."""

import numpy as np
import pytest

from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.fingerprint import Fingerprint, fingerprint
from fromscratch.anatomy.relation.judgement import Relation
from fromscratch.anatomy.relation.merges import find_merge
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.tensors import checkpoint_of_arrays
from tests.anatomy.trained import Arrays
from tests.anatomy.zoo import Zoo

PARENTS = ("tuned", "tuned_on_poems", "base")


def fingerprint_of(arrays: Arrays) -> Fingerprint:
    checkpoint = checkpoint_of_arrays(arrays)
    return fingerprint(checkpoint, find_structure(checkpoint))


def mixed(zoo: Zoo, **shares: float) -> Arrays:
    names = zoo.models["base"]
    return {
        name: np.sum([share * zoo.models[model][name] for model, share in shares.items()], axis=0).astype(np.float32)
        for name in names
    }


@pytest.mark.parametrize("shares", [(0.6, 0.4, 0.0), (0.2, 0.3, 0.5), (0.05, 0.0, 0.95)])
def test_shares_of_two_or_three_parents_are_recovered(zoo: Zoo, shares: tuple[float, ...]) -> None:
    child = fingerprint_of(mixed(zoo, **dict(zip(PARENTS, shares, strict=True))))
    merge = find_merge(child, [fingerprint_of(zoo.models[name]) for name in PARENTS])
    assert merge is not None and merge.kind == "linear" and merge.explained > 0.999
    assert [share.weight for share in merge.shares] == pytest.approx(shares, abs=2e-3)


@pytest.mark.parametrize("t", [0.3, 0.5])
def test_a_point_on_the_arc_is_told_from_one_on_the_line(zoo: Zoo, t: float) -> None:
    one, other = zoo.models["base"], zoo.models["further"]
    arc = {}
    for name in one:
        angle = np.arccos(np.vdot(one[name], other[name]) / np.linalg.norm(one[name]) / np.linalg.norm(other[name]))
        near = max(float(angle), 1e-6)
        arc[name] = ((np.sin((1 - t) * near) * one[name] + np.sin(t * near) * other[name]) / np.sin(near)).astype("f4")
    parents = [fingerprint_of(one), fingerprint_of(other)]
    spherical, linear = (
        find_merge(fingerprint_of(child), parents) for child in (arc, mixed(zoo, base=1 - t, further=t))
    )
    assert spherical is not None and spherical.kind == "spherical"
    assert [share.weight for share in spherical.shares] == pytest.approx([1 - t, t], abs=2e-3)
    assert linear is not None and linear.kind == "linear"


@pytest.mark.parametrize("child", ["further", "other_seed", "tuned"])
def test_what_was_trained_is_no_merge(zoo: Zoo, child: str) -> None:
    parents = [fingerprint_of(zoo.models[name]) for name in ("base", "tuned_on_poems")]
    assert find_merge(fingerprint_of(zoo.models[child]), parents) is None


def test_a_copy_of_one_parent_is_no_merge(zoo: Zoo) -> None:
    parents = [fingerprint_of(zoo.models[name]) for name in ("base", "tuned")]
    assert find_merge(parents[0], parents) is None
    assert find_merge(fingerprint_of(zoo.models["tuned_on_poems"]), parents[:1]) is None


def test_the_verdict_names_the_parents(zoo: Zoo) -> None:
    child = fingerprint_of(mixed(zoo, tuned=0.6, tuned_on_poems=0.4))
    one, other = (fingerprint_of(zoo.models[name]) for name in PARENTS[:2])
    verdict = compare_weights(one, child, others=[other])
    assert verdict.relation == Relation.MERGED and verdict.direction == "b from a"
    assert [round(share.weight, 2) for share in verdict.parents] == [0.6, 0.4]
    assert compare_weights(one, child).relation == Relation.FINE_TUNED  # with one parent alone it looks like this
