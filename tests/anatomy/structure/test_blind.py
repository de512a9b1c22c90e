"""Roles, layers and heads are found without names, and are not told where weights do not show them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.roles import Part, Role, Structure
from fromscratch.anatomy.tensors import checkpoint_of_arrays
from tests.anatomy.structure.planted import LAYERS, D, F, G, H, K, planted_llama, shuffled
from tests.anatomy.zoo import Zoo

Arrays = dict[str, NDArray[np.float32]]


def blind(arrays: Arrays, seed: int = 0) -> tuple[Structure, dict[str, str]]:
    opaque, truth = shuffled(arrays, seed)
    return find_structure(checkpoint_of_arrays(opaque, {"num_attention_heads": 1}), blind=True), truth


def told_wrongly(found: Structure, truth: dict[str, str], arrays: Arrays) -> list[tuple[str, Part]]:
    """Parts with a role that is not theirs, or with a layer that is not theirs."""
    known = find_structure(checkpoint_of_arrays(arrays)).parts
    wrong = []
    for name, part in found.parts.items():
        true = known[truth[name]]
        if part.role not in (Role.UNKNOWN, true.role) or part.layer not in (None, true.layer):
            wrong.append((truth[name], part))
    return wrong


@pytest.mark.parametrize("seed", range(3))
def test_every_matrix_is_found_in_its_layer(seed: int) -> None:
    arrays = planted_llama(seed=seed)
    found, truth = blind(arrays, seed)
    assert not told_wrongly(found, truth, arrays)
    matrices = [part for name, part in found.parts.items() if arrays[truth[name]].ndim == 2]
    assert len(matrices) == 7 * LAYERS + 2
    assert all(part.role != Role.UNKNOWN for part in matrices)
    assert all(part.layer is not None for part in matrices if part.role not in (Role.EMBEDDING, Role.HEAD))
    assert (found.query_heads, found.kv_heads, found.head_width, found.rotary_layout) == (H, G, K, "half_split")
    assert (found.layers, found.width, found.mlp_width) == (LAYERS, D, F)


def test_matrices_stored_the_other_way_round_are_found_too() -> None:
    arrays = planted_llama()
    turned = {name: each.T.copy() if "_proj" in name else each for name, each in arrays.items()}
    found, truth = blind(turned)
    assert not told_wrongly(found, truth, turned)
    assert all(part.transposed for part in found.parts.values() if part.layer is not None)
    assert sum(part.layer is not None for part in found.parts.values()) == 7 * LAYERS


def test_fused_queries_keys_and_values_are_found() -> None:
    arrays = planted_llama()
    for layer in range(LAYERS):
        attention = f"model.layers.{layer}.self_attn."
        apart = [arrays.pop(f"{attention}{part}_proj.weight") for part in "qkv"]
        arrays[f"{attention}qkv_proj.weight"] = np.concatenate(apart)
    found, truth = blind(arrays)
    assert not told_wrongly(found, truth, arrays)
    fused = [part for part in found.parts.values() if part.role == Role.QUERY_KEY_VALUE]
    assert len(fused) == LAYERS and {part.order for part in fused} == {"stacked"}
    assert (found.query_heads, found.kv_heads) == (H, G)


def test_attention_that_is_no_wider_for_queries_leaves_them_and_keys_untold() -> None:
    arrays = planted_llama()
    for layer in range(LAYERS):
        for part in "kv":
            name = f"model.layers.{layer}.self_attn.{part}_proj.weight"
            arrays[name] = np.repeat(arrays[name].reshape(G, K, D), H // G, 0).reshape(-1, D)
            arrays[name] += 0.3 * np.random.default_rng(layer).normal(size=arrays[name].shape).astype(np.float32)
    found, truth = blind(arrays)
    assert not told_wrongly(found, truth, arrays)
    roles = [
        found.parts[name].role for name, known in truth.items() if known.endswith(("v_proj.weight", "o_proj.weight"))
    ]
    assert set(roles) == {Role.VALUE, Role.ATTENTION_OUTPUT}
    assert any("query" in sentence and "key" in sentence for sentence in found.unknown)


def test_nothing_is_told_of_trained_models_that_is_not_so(zoo: Zoo) -> None:
    told = 0
    for seed, (name, arrays) in enumerate(zoo.models.items()):
        found, truth = blind(dict(arrays), seed)
        assert not told_wrongly(found, truth, dict(arrays)), name
        assert (found.layers, found.width) == (4, len(arrays["model.norm.weight"])), name
        told += sum(part.role != Role.UNKNOWN for part in found.parts.values())
    assert told > 100


def test_of_untrained_weights_only_shapes_are_told() -> None:
    random = np.random.default_rng(1)
    arrays = {name: random.normal(size=each.shape).astype(np.float32) for name, each in planted_llama().items()}
    found, _ = blind(arrays)
    assert (found.layers, found.width, found.mlp_width, found.vocabulary) == (LAYERS, D, F, 300)
    assert {part.role for part in found.parts.values()} == {Role.UNKNOWN}
    assert found.query_heads is None and found.rotary_layout is None and found.axes["positions"].value == "unknown"


def test_what_is_no_decoder_is_not_read_as_one() -> None:
    arrays = {f"t{size}": np.ones((size, size + 1), np.float32) for size in range(3, 12)}
    found = find_structure(checkpoint_of_arrays(arrays), blind=True)
    assert found.layers == 0 and found.unknown[0] == "what it is"
    assert find_structure(checkpoint_of_arrays({}), blind=True).layers == 0


def test_biases_are_seen_by_their_number() -> None:
    arrays = planted_llama()
    for layer in range(LAYERS):
        sizes = {"q": H * K, "k": G * K, "v": G * K}
        arrays |= {
            f"model.layers.{layer}.self_attn.{part}_proj.bias": np.ones(n, np.float32) for part, n in sizes.items()
        }
    assert blind(arrays)[0].axes["attention"].value == "grouped-query, biases of queries, keys and values"


def test_weights_of_a_run_that_diverged_are_read_to_the_end() -> None:
    arrays = {name: np.full_like(each, np.nan) if "3" in name else each for name, each in planted_llama().items()}
    assert blind(arrays)[0].layers == LAYERS
