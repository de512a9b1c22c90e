"""Every verdict and every map is held to the truth about the zoo; nothing unrelated is called related."""

import re
from functools import cache

import pytest

from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.fingerprint import Fingerprint, fingerprint
from fromscratch.anatomy.relation.judgement import Relation, WeightVerdict
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.match import match_names
from fromscratch.anatomy.structure.roles import Role, Structure
from tests.anatomy.trained import MODELS
from tests.anatomy.zoo import DERIVED, Derived, Zoo

MERGES = ("linear_merge", "spherical_merge")
WITHOUT_PARENTS = [name for name in DERIVED if name not in MERGES]
INDEPENDENT = ("other_seed", "muon", "mup", "zero", "narrow", "student")
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
def judged(zoo: Zoo, name: str, blind: bool = False) -> tuple[Derived, Structure, WeightVerdict]:
    derived = zoo.derived(name)
    parent = zoo.checkpoint(derived.parents[0])
    structure = find_structure(derived.checkpoint, blind)
    verdict = compare_weights(
        parent, derived.checkpoint, a_structure=find_structure(parent, blind), b_structure=structure
    )
    return derived, structure, verdict


@pytest.mark.parametrize("blind", [False, True], ids=["by_name", "blind"])
@pytest.mark.parametrize("name", DERIVED)
def test_every_tensor_is_found_in_its_role(zoo: Zoo, name: str, blind: bool) -> None:
    derived, structure, _ = judged(zoo, name, blind)
    found = {each: (part.role, part.layer) for each, part in structure.parts.items()}
    scales = {each for each in found if each.endswith(".SCB")}
    truth = {each: true_part(derived.names.get(each, each)) for each in derived.arrays if each not in scales}
    assert {each: found[each][0] for each in truth} == {each: role for each, (role, _) in truth.items()}
    assert all(found[each][0] == Role.UNKNOWN for each in scales)
    # Without names the order of layers is a weak statistic, but what belongs to one layer is found together.
    layers = {(found[each][1], layer) for each, (_, layer) in truth.items()}
    assert (
        len(layers)
        == structure.layers + 1
        == len({layer for layer, _ in layers})
        == len({layer for _, layer in layers})
    )
    if not blind and not derived.names:
        assert all(layer == was for layer, was in layers)


@pytest.mark.parametrize("blind", [False, True], ids=["by_name", "blind"])
@pytest.mark.parametrize("name", WITHOUT_PARENTS)
def test_the_weights_are_called_what_they_are(zoo: Zoo, name: str, blind: bool) -> None:
    derived, _, verdict = judged(zoo, name, blind)
    steps = {str(step.what) for step in verdict.steps}
    assert verdict.relation == derived.weights
    assert steps >= derived.transforms
    if verdict.relation == Relation.TRANSFORMED:
        assert steps == derived.transforms


@pytest.mark.parametrize("name", WITHOUT_PARENTS)
def test_the_maps_are_exact(zoo: Zoo, name: str) -> None:
    derived, _, verdict = judged(zoo, name)
    if derived.layer_map != (0, 1, 2, 3):
        assert tuple(layer.a for layer in verdict.layers) == derived.layer_map
    assert tuple(verdict.units[layer] for layer in sorted(verdict.units)) == derived.unit_maps
    assert verdict.width == derived.stream_map


@pytest.mark.parametrize("name", ["renamed_as_in_the_affair", "random_names", "shuffled_fused_renamed"])
def test_the_names_are_given_back(zoo: Zoo, name: str) -> None:
    derived, _, verdict = judged(zoo, name)
    moved = re.compile("_proj" if derived.unit_maps else "$^")
    truth = {here: (was,) for here, was in derived.rename.items() if not moved.search(was)}
    assert {here: verdict.names[here] for here in truth} == truth


@pytest.mark.parametrize("name", DERIVED)
def test_the_architecture_is_called_what_it_is(zoo: Zoo, name: str) -> None:
    derived, structure, _ = judged(zoo, name)
    verdict = match_names(find_structure(zoo.checkpoint(derived.parents[0])), structure)
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
    assert verdict.relation == Relation.INDEPENDENT
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
    one, other = zoo.checkpoint(a), zoo.checkpoint(b)
    structures = (find_structure(each, blind) for each in (one, other))
    return compare_weights(one, other, a_structure=next(structures), b_structure=next(structures))


@cache
def printed(zoo: Zoo, name: str) -> Fingerprint:
    checkpoint = zoo.checkpoint(name)
    return fingerprint(checkpoint, find_structure(checkpoint))
