"""Every verdict and every map is held to the truth about the zoo; nothing unrelated is called related."""

import re
from functools import cache

import pytest

from fromscratch.anatomy.compare import Comparison, compare_checkpoints
from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.fingerprint import Fingerprint, fingerprint
from fromscratch.anatomy.relation.judgement import Relation, WeightVerdict
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.roles import Role
from tests.anatomy.trained import MODELS
from tests.anatomy.zoo import DERIVED, Derived, Zoo

MERGES = ("linear_merge", "spherical_merge")
WITHOUT_PARENTS = [name for name in DERIVED if name not in MERGES]
INDEPENDENT = ("other_seed", "muon", "mup", "zero", "narrow", "student")
LEARNT = {"low-rank update", "fine-tuned", "further pretrained"}
RELATED_AT = -6  # log10 of the p-value at which two models are called related

IN_LAYER = {
    "input_layernorm": Role.ATTENTION_NORM,
    "self_attn.q_proj": Role.QUERY,
    "self_attn.k_proj": Role.KEY,
    "self_attn.v_proj": Role.VALUE,
    "self_attn.qkv_proj": Role.QUERY_KEY_VALUE,
    "self_attn.o_proj": Role.ATTENTION_OUTPUT,
    "post_attention_layernorm": Role.MLP_NORM,
    "mlp.gate_proj": Role.GATE,
    "mlp.up_proj": Role.UP,
    "mlp.gate_up_proj": Role.GATE_UP,
    "mlp.down_proj": Role.DOWN,
}
OUTSIDE = {"model.embed_tokens": Role.EMBEDDING, "model.norm": Role.FINAL_NORM, "lm_head": Role.HEAD}


def true_part(llama_name: str) -> tuple[Role, int | None]:
    name = llama_name.removesuffix(".weight")
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name)
    return (IN_LAYER[layer[2]], int(layer[1])) if layer else (OUTSIDE[name], None)


@cache
def judged(zoo: Zoo, name: str, blind: bool = False) -> tuple[Derived, Comparison]:
    derived = zoo.derived(name)
    return derived, compare_checkpoints(zoo.checkpoint(derived.parents[0]), derived.checkpoint, blind=blind)


@pytest.mark.parametrize("name", DERIVED)
def test_every_tensor_is_found_in_its_role(zoo: Zoo, name: str) -> None:
    derived, found = judged(zoo, name)
    parts = {each: (part.role, part.layer) for each, part in found.b.structure.parts.items()}
    truth = {each: true_part(derived.names.get(each, each)) for each in derived.arrays if not each.endswith(".SCB")}
    # Queries and keys this narrow, shuffled, in one tensor and without a name, are nothing that can be recognised.
    hidden = {each for each in truth if name == "shuffled_fused_renamed" and "qkv_proj" in derived.names[each]}
    assert {each: parts[each] for each in truth if each not in hidden} == {
        each: part for each, part in truth.items() if each not in hidden
    }
    assert {parts[each][0] for each in parts if each not in truth or each in hidden} <= {Role.UNKNOWN}


@pytest.mark.parametrize("name", DERIVED)
def test_what_is_found_blind_is_right_or_said_to_be_unknown(zoo: Zoo, name: str) -> None:
    """The zoo's models are so small that not all of them can be read without names; real ones are in the benchmarks."""
    derived = zoo.derived(name)
    structure = find_structure(derived.checkpoint, blind=True)
    for each in derived.arrays:
        role = structure.parts[each].role
        assert role == Role.UNKNOWN or role == true_part(derived.names.get(each, each))[0], each
    if any(part.role == Role.UNKNOWN for part in structure.parts.values()):
        assert structure.unknown


@pytest.mark.parametrize("name", WITHOUT_PARENTS)
def test_the_weights_are_called_what_they_are(zoo: Zoo, name: str) -> None:
    derived, found = judged(zoo, name)
    verdict = found.weights
    steps = {str(step.what) for step in verdict.steps}
    assert verdict.relation == derived.weights
    assert steps >= derived.transforms
    if verdict.relation == Relation.TRANSFORMED:
        assert steps == derived.transforms
    assert steps & LEARNT == (derived.transforms | {derived.weights}) & LEARNT
    told = verdict.names.keys() | {each.b for each in verdict.distances}
    assert told >= derived.arrays.keys() or verdict.reasons


@pytest.mark.parametrize("name", WITHOUT_PARENTS)
def test_blind_the_weights_are_called_what_they_are_or_nothing(zoo: Zoo, name: str) -> None:
    derived, found = judged(zoo, name, blind=True)
    assert found.weights.relation in (derived.weights, Relation.UNDECIDED)
    assert found.weights.reasons or found.weights.relation == derived.weights


@pytest.mark.parametrize("name", WITHOUT_PARENTS)
def test_the_maps_are_exact(zoo: Zoo, name: str) -> None:
    derived, found = judged(zoo, name)
    verdict = found.weights
    if derived.layer_map != (0, 1, 2, 3):
        assert tuple(layer.a for layer in verdict.layers) == derived.layer_map
    assert tuple(verdict.units[layer] for layer in sorted(verdict.units)) == derived.unit_maps
    assert verdict.width == derived.stream_map


@pytest.mark.parametrize("name", ["renamed_as_in_the_affair", "random_names", "shuffled_fused_renamed"])
def test_the_names_are_given_back(zoo: Zoo, name: str) -> None:
    derived, found = judged(zoo, name)
    verdict = found.weights
    moved = re.compile("_proj" if derived.unit_maps else "$^")
    truth = {here: (was,) for here, was in derived.rename.items() if not moved.search(was)}
    assert {here: verdict.names[here] for here in truth} == truth


@pytest.mark.parametrize("name", DERIVED)
def test_the_architecture_is_called_what_it_is(zoo: Zoo, name: str) -> None:
    derived, found = judged(zoo, name)
    verdict = found.architecture
    assert verdict.verdict == derived.architecture
    if name in ("renamed_as_in_the_affair", "tuned_renamed_halved"):
        assert verdict.renames == {was: here for here, was in derived.rename.items() if was != here}


@pytest.mark.parametrize("name", MERGES)
def test_parents_and_shares_of_a_merge_are_found(zoo: Zoo, name: str) -> None:
    derived = zoo.derived(name)
    first, second = (printed(zoo, parent) for parent in derived.parents)
    child = fingerprint(derived.checkpoint, find_structure(derived.checkpoint))
    verdict = compare_weights(first, child, others=[second])
    assert verdict.relation == derived.weights
    assert [share.weight for share in verdict.parents] == pytest.approx(derived.shares, abs=0.01)
    stranger = compare_weights(first, child, others=[printed(zoo, "other_seed")])
    assert stranger.relation != Relation.MERGED and stranger.relation.is_lineage


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize("blind", [False, True], ids=["by_name", "blind"])
def test_models_that_share_nothing_are_independent(zoo: Zoo, name: str, blind: bool) -> None:
    verdict = compared(zoo, "base", name, blind)
    assert verdict.relation == Relation.INDEPENDENT or (blind and verdict.relation == Relation.UNDECIDED)
    assert all(test.log10_p > RELATED_AT for test in verdict.tests)


def test_the_same_seed_with_other_data_is_shared_initialisation_and_no_more(zoo: Zoo) -> None:
    assert compared(zoo, "base", "same_seed").relation == Relation.SHARED_INITIALISATION


def test_no_two_models_are_called_related_that_are_not(zoo: Zoo) -> None:
    kin = {name for name, how in MODELS.items() if how.start == "base"} | {"base"}
    for a in MODELS:
        for b in MODELS:
            unrelated = a != b and not {a, b} <= kin
            assert not (unrelated and compared(zoo, a, b).relation.is_lineage), (a, b)


@cache
def compared(zoo: Zoo, a: str, b: str, blind: bool = False) -> WeightVerdict:
    return compare_checkpoints(zoo.checkpoint(a), zoo.checkpoint(b), blind=blind).weights


@cache
def printed(zoo: Zoo, name: str) -> Fingerprint:
    checkpoint = zoo.checkpoint(name)
    return fingerprint(checkpoint, find_structure(checkpoint))
