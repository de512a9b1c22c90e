"""Verdicts beyond the zoo's: both directions, hidden orders together with training, and where to abstain."""

import numpy as np
import pytest

from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.fingerprint import fingerprint
from fromscratch.anatomy.relation.judgement import Relation, WeightVerdict
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.tensors import Checkpoint, checkpoint_of_arrays
from tests.anatomy.trained import SHAPE, Arrays, Training, train
from tests.anatomy.zoo import Zoo, config_of, shuffle


def checkpoint(arrays: Arrays) -> Checkpoint:
    return checkpoint_of_arrays(arrays, config_of(SHAPE))


def judged(a: Arrays, b: Arrays, initial: Arrays | None = None) -> WeightVerdict:
    one, other = checkpoint(a), checkpoint(b)
    structure = find_structure(one)
    start = fingerprint(checkpoint(initial), structure) if initial is not None else None
    return compare_weights(one, other, a_structure=structure, b_structure=find_structure(other), initial=start)


def kinds(verdict: WeightVerdict) -> set[str]:
    return {str(step.what) for step in verdict.steps}


def with_pairs_side_by_side(arrays: Arrays) -> Arrays:
    """Queries and keys in Meta's rotary layout."""
    order = np.arange(SHAPE.key_width).reshape(2, -1).T.reshape(-1)
    return {
        name: each.reshape(-1, SHAPE.key_width, each.shape[-1])[:, order].reshape(each.shape)
        if "q_proj" in name or "k_proj" in name
        else each
        for name, each in arrays.items()
    }


def in_another_order(arrays: Arrays, order: np.ndarray) -> Arrays:
    """The dimensions of the residual stream permuted."""
    writes = ("norm", "o_proj", "down_proj")
    return {name: each[order] if any(w in name for w in writes) else each[:, order] for name, each in arrays.items()}


@pytest.fixture(scope="module")
def initial() -> Arrays:
    return train(Training(steps=0), {})


def test_a_model_is_itself(zoo: Zoo) -> None:
    verdict = judged(zoo.models["base"], zoo.models["base"])
    assert verdict.relation == Relation.IDENTICAL and not verdict.steps and verdict.direction is None
    assert verdict.names == {name: (name,) for name in zoo.models["base"]}


@pytest.mark.parametrize(("child", "relation"), [("tuned", "fine-tuned"), ("further", "further pretrained")])
def test_shuffled_units_heads_and_rotary_pairs_hide_no_training(zoo: Zoo, child: str, relation: str) -> None:
    arrays, units = shuffle(zoo.models[child], np.random.default_rng(0))
    verdict = judged(zoo.models["base"], with_pairs_side_by_side(arrays))
    assert verdict.relation == relation
    assert kinds(verdict) >= {"units permuted", "heads permuted", "rotary layout"}
    assert tuple(verdict.units[layer] for layer in range(4)) == units


def test_a_permuted_stream_is_found_and_its_missing_p_value_is_told(zoo: Zoo) -> None:
    order = np.random.default_rng(1).permutation(64)
    verdict = judged(zoo.models["base"], in_another_order(zoo.models["tuned"], order))
    assert verdict.relation == Relation.FINE_TUNED and verdict.width == tuple(order)
    assert any("no exact p-value" in reason for reason in verdict.reasons)
    exact = judged(zoo.models["base"], in_another_order(zoo.models["base"], order))
    assert exact.relation == Relation.TRANSFORMED and kinds(exact) == {"width permuted"}


@pytest.mark.parametrize("stranger", ["other_seed", "muon", "mup", "zero", "student"])
def test_a_permuted_stream_makes_no_relatives_of_strangers(zoo: Zoo, stranger: str) -> None:
    order = np.random.default_rng(2).permutation(64)
    assert judged(zoo.models["base"], in_another_order(zoo.models[stranger], order)).relation == Relation.INDEPENDENT


@pytest.mark.parametrize(
    "name", ["pruned_units", "pruned_in_depth", "depth_up_scaled", "tuned_pruned_quantised", "Q8_0", "Q4_0", "bf16"]
)
def test_the_question_may_be_asked_the_other_way_round(zoo: Zoo, name: str) -> None:
    derived, base = zoo.derived(name).arrays, zoo.models["base"]
    there, back = judged(base, derived), judged(derived, base)
    assert there.relation == back.relation and kinds(there) == kinds(back)
    assert (there.direction, back.direction) == ("b from a", "a from b")
    told = [step.evidence for step in back.steps]
    assert [step.evidence for step in there.steps] == [each.translate(str.maketrans("AB", "BA")) for each in told]


def test_training_alone_shows_no_direction(zoo: Zoo) -> None:
    assert judged(zoo.models["base"], zoo.models["tuned"]).direction is None


def test_initial_weights_tell_a_common_start_from_lineage(zoo: Zoo, initial: Arrays) -> None:
    truth = {"tuned": "fine-tuned", "further": "further pretrained", "same_seed": "shared initialisation only"}
    for name, relation in truth.items():
        verdict = judged(zoo.models["base"], zoo.models[name], initial)
        assert verdict.relation == relation and "since the initial weights" in verdict.summary


def test_untrained_models_with_one_start_are_not_judged(zoo: Zoo, initial: Arrays) -> None:
    random = np.random.default_rng(3)
    nudged = {name: each + random.normal(0, 1e-4, each.shape).astype("f4") for name, each in initial.items()}
    for other in (nudged, zoo.models["base"]):
        verdict = judged(initial, other)
        assert verdict.relation == Relation.UNDECIDED and "common start" in verdict.reasons[-1]
        assert "cast" not in kinds(verdict)  # gains near 1 all round to 1: that is no cast


def test_a_table_of_embeddings_that_was_taken_over_makes_no_descendant(zoo: Zoo) -> None:
    taken = {**zoo.models["other_seed"], "model.embed_tokens.weight": zoo.models["base"]["model.embed_tokens.weight"]}
    verdict = judged(zoo.models["base"], taken)
    assert verdict.relation == Relation.UNDECIDED and "tables over tokens" in verdict.reasons[-1]


def test_layers_that_were_taken_over_are_told_from_those_that_were_not(zoo: Zoo) -> None:
    mine = {
        name: zoo.models["base" if "layers.0" in name or "layers.1" in name or "embed" in name else "other_seed"][name]
        for name in zoo.models["base"]
    }
    verdict = judged(zoo.models["base"], mine)
    assert verdict.relation == Relation.LAYERS_REUSED
    assert [layer.a for layer in verdict.layers] == [0, 1, None, None]


def test_a_tensor_that_is_left_out_is_named(zoo: Zoo) -> None:
    without = {name: each for name, each in zoo.models["base"].items() if name != "model.norm.weight"}
    verdict = judged(zoo.models["base"], without)
    assert verdict.relation != Relation.IDENTICAL and "model.norm.weight" in verdict.reasons[0]


def test_a_checkpoint_needs_its_structure(zoo: Zoo) -> None:
    with pytest.raises(ValueError, match="structure"):
        compare_weights(checkpoint(zoo.models["base"]), checkpoint(zoo.models["base"]))
