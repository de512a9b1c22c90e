"""Two architectures are one, one up to names, one within the other, or not; and which tensor is which."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.match import ArchitectureVerdict, match_names
from fromscratch.anatomy.structure.roles import Role
from fromscratch.anatomy.tensors import checkpoint_of_arrays
from tests.anatomy.structure.planted import LAYERS, D, F, planted_llama, shuffled

Arrays = dict[str, NDArray[np.float32]]
CONFIG = {"num_attention_heads": 6, "num_key_value_heads": 2, "rope_theta": 1e4, "rms_norm_eps": 1e-5}


def matched(a: Arrays, b: Arrays, blind: bool = False) -> ArchitectureVerdict:
    one = find_structure(checkpoint_of_arrays(a, CONFIG))
    return match_names(one, find_structure(checkpoint_of_arrays(b, CONFIG), blind))


def renamed(arrays: Arrays, rename: Callable[[str], str]) -> Arrays:
    return {rename(name): each for name, each in arrays.items()}


def yi(name: str) -> str:
    return name.replace("input_layernorm", "ln1").replace("post_attention_layernorm", "ln2")


def test_the_affair_two_tensors_of_each_layer_are_renamed() -> None:
    verdict = matched(renamed(planted_llama(seed=1), yi), planted_llama(seed=2))
    assert verdict.verdict == "same_up_to_renaming"
    assert verdict.sentence == f"same architecture; {2 * LAYERS} tensors renamed"
    assert verdict.renames == {yi(name): name for name in planted_llama() if yi(name) != name}
    assert {pair.proof for pair in verdict.pairings} == {"roles"}


def test_equal_names_are_the_same_architecture_whatever_the_weights() -> None:
    verdict = matched(planted_llama(seed=1), planted_llama(seed=2))
    assert verdict.verdict == "same" and not verdict.renames
    assert len(verdict.pairings) == len(planted_llama())


def test_stored_frequencies_and_a_repeated_head_do_not_confuse() -> None:
    plain = planted_llama()
    plain["lm_head.weight"] = plain["model.embed_tokens.weight"].copy()
    more = dict(plain)
    del more["lm_head.weight"]
    for layer in range(LAYERS):
        more[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    verdict = matched(plain, more)
    assert verdict.verdict == "same" and len(verdict.buffers) == LAYERS and not verdict.only_a


def test_fused_tensors_stand_beside_their_parts() -> None:
    plain, fused = planted_llama(seed=1), planted_llama(seed=2)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        apart = [fused.pop(f"{name}self_attn.{part}_proj.weight") for part in "qkv"]
        fused[f"{name}self_attn.qkv_proj.weight"] = np.concatenate(apart)
        halves = [fused.pop(f"{name}mlp.{part}_proj.weight") for part in ("gate", "up")]
        fused[f"{name}mlp.gate_up_proj.weight"] = np.concatenate(halves)
    verdict = matched(plain, fused)
    assert verdict.verdict == "same_up_to_renaming" and not verdict.renames
    assert verdict.sentence == f"same architecture; {2 * LAYERS} fused"
    third = next(pair for pair in verdict.pairings if pair.layer == 3 and pair.role == Role.QUERY_KEY_VALUE)
    assert third.a == tuple(f"model.layers.3.self_attn.{part}_proj.weight" for part in "qkv")
    assert third.b == ("model.layers.3.self_attn.qkv_proj.weight",)
    assert matched(fused, plain).sentence == f"same architecture; {2 * LAYERS} split"


def test_another_rotary_layout_is_told_of_queries_and_keys() -> None:
    verdict = matched(planted_llama("half_split"), planted_llama("interleaved"))
    turned = [pair.role for pair in verdict.pairings if pair.change]
    assert verdict.verdict == "same_up_to_renaming" and set(turned) == {Role.QUERY, Role.KEY}


def test_fewer_layers_are_contained() -> None:
    whole = planted_llama()
    less = {name: each for name, each in whole.items() if f"layers.{LAYERS - 1}." not in name}
    assert matched(whole, less).verdict == "contained"
    assert matched(whole, less).sentence == "B has the architecture of A with parts left out: layers 8 and 7"
    assert matched(less, whole).sentence.startswith("A has the architecture of B")


def test_a_bias_of_the_head_more_contains_the_other() -> None:
    more = {**planted_llama(), "lm_head.bias": np.zeros(300, np.float32)}
    assert matched(planted_llama(), more).sentence.startswith("A has the architecture of B")
    assert matched(more, planted_llama()).sentence.startswith("B has the architecture of A")


def test_a_narrower_mlp_is_contained_and_a_narrower_stream_is_another_size() -> None:
    whole = planted_llama()
    pruned = {
        name: each[:, : F // 2] if "down" in name else each[: F // 2] if ".mlp." in name else each
        for name, each in whole.items()
    }
    assert matched(whole, pruned).verdict == "contained"
    narrow = {
        name: each[..., : D // 2] if each.shape[-1] == D and "o_proj" not in name else each[: D // 2]
        for name, each in whole.items()
        if "down" not in name
    }
    narrow |= {name: each[: D // 2] for name, each in whole.items() if "down" in name}
    verdict = matched(whole, narrow)
    assert verdict.verdict == "different" and ("width", "96", "48") in verdict.sizes


def test_other_axes_are_named() -> None:
    plain = planted_llama()
    other = {name: each for name, each in plain.items() if "gate" not in name}
    for layer in range(LAYERS):
        for norm in ("input", "post_attention"):
            other[f"model.layers.{layer}.{norm}_layernorm.bias"] = np.zeros(D, np.float32)
    verdict = matched(plain, other)
    assert verdict.verdict == "different"
    assert verdict.axes == (("activation", "gated", "plain"), ("normalisation", "RMSNorm, pre", "LayerNorm, pre"))


def test_equal_numbers_prove_the_map_where_names_say_nothing() -> None:
    known = planted_llama()
    opaque, truth = shuffled(known, seed=3)
    structures = find_structure(checkpoint_of_arrays(known, CONFIG)), find_structure(checkpoint_of_arrays(opaque))
    digests = tuple({name: str(each.tobytes()) for name, each in side.items()} for side in (known, opaque))
    verdict = match_names(*structures, (digests[0], digests[1]))
    assert verdict.verdict == "same_up_to_renaming"
    assert verdict.renames == {name: opaque_name for opaque_name, name in truth.items()}
    assert {pair.proof for pair in verdict.pairings} == {"numbers"}


def test_norms_of_ones_are_told_apart_by_role_and_reported_as_equal() -> None:
    ones = {name: np.ones_like(each) if "norm" in name else each for name, each in planted_llama().items()}
    other = renamed(ones, yi)
    structures = tuple(find_structure(checkpoint_of_arrays(each, CONFIG)) for each in (other, ones))
    digests = tuple({name: str(each.tobytes()) for name, each in side.items()} for side in (other, ones))
    verdict = match_names(structures[0], structures[1], (digests[0], digests[1]))
    assert verdict.renames == {yi(name): name for name in ones if yi(name) != name}
    assert [len(each) for each in verdict.equivalent] == [2 * LAYERS + 1]


def test_unrelated_weights_without_names_match_by_role_and_their_norms_as_a_class() -> None:
    opaque, truth = shuffled(planted_llama(seed=5))
    verdict = matched(planted_llama(seed=1), opaque, blind=True)
    assert verdict.verdict == "same_up_to_renaming"
    matrices = {name for name, each in planted_llama().items() if each.ndim == 2}
    assert {truth[other]: name for name, other in verdict.renames.items()} == {name: name for name in matrices}
    assert [{truth[name] for name in each} for each in verdict.equivalent] == [planted_llama().keys() - matrices]


@pytest.mark.parametrize("strange", ["adapter.weight", "model.layers.0.extra.weight"])
def test_a_tensor_without_a_counterpart_leaves_the_question_open(strange: str) -> None:
    verdict = matched(planted_llama(), {**planted_llama(), strange: np.ones((3, 5), np.float32)})
    assert verdict.verdict == "undecided" and verdict.only_b == (strange,)


def test_the_map_is_in_the_order_of_the_first_checkpoint() -> None:
    known = planted_llama()
    digests = {name: str(each.tobytes()) for name, each in known.items()}
    structure = find_structure(checkpoint_of_arrays(known, CONFIG))
    pairings = match_names(structure, structure, (digests, digests)).pairings
    assert [pair.a[0] for pair in pairings] == list(known)
