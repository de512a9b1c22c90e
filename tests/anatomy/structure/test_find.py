"""Sizes, heads, ties and axes of a checkpoint whose names are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.roles import Role, Structure
from fromscratch.anatomy.tensors import checkpoint_of_arrays
from tests.anatomy.structure.planted import LAYERS, VOCABULARY, D, F, G, H, K, planted_llama
from tests.anatomy.zoo import Zoo

Arrays = dict[str, NDArray[np.float32]]


def structure_of(arrays: Arrays, **config: object) -> Structure:
    return find_structure(checkpoint_of_arrays(arrays, config))


def test_sizes_come_from_shapes() -> None:
    found = structure_of(planted_llama())
    assert (found.layers, found.width, found.mlp_width, found.vocabulary) == (LAYERS, D, F, VOCABULARY)
    assert not found.tied
    assert {name: each.value for name, each in found.axes.items()} == {
        "attention": "grouped-query, no biases",
        "activation": "gated",
        "normalisation": "RMSNorm, pre",
        "positions": "rotary",
    }


def test_heads_and_rotary_pairs_are_seen_without_a_config() -> None:
    for layout in ("half_split", "interleaved"):
        found = structure_of(planted_llama(layout))
        assert (found.query_heads, found.kv_heads, found.head_width) == (H, G, K)
        assert found.rotary_layout == layout
        assert found.findings["attention heads"].confidence == found.axes["positions"].confidence == "strong"


def test_weights_that_turn_otherwise_than_their_names_promise_are_told() -> None:
    found = structure_of(planted_llama("interleaved"), num_attention_heads=H, num_key_value_heads=G)
    assert found.rotary_layout == "interleaved"
    assert "would turn the wrong pairs" in found.axes["positions"].evidence


@pytest.mark.parametrize(("heads", "kv_heads"), [(H, H), (2 * H, G)])
def test_a_config_whose_heads_its_tensors_cannot_have_is_not_believed(heads: int, kv_heads: int) -> None:
    found = structure_of(planted_llama(), num_attention_heads=heads, num_key_value_heads=kv_heads)
    assert (found.query_heads, found.kv_heads) == (H, G)
    assert "which its tensors are not" in found.findings["attention heads"].evidence


def test_untrained_weights_claim_their_heads_and_show_none() -> None:
    random = np.random.default_rng(0)
    arrays = {
        name: random.normal(size=each.shape).astype(np.float32) if each.ndim == 2 else each
        for name, each in planted_llama().items()
    }
    claimed = structure_of(arrays, num_attention_heads=H, num_key_value_heads=G, rope_theta=1e4)
    assert (claimed.query_heads, claimed.kv_heads) == (H, G)
    assert claimed.findings["attention heads"].confidence == claimed.axes["positions"].confidence == "claimed"
    assert structure_of(arrays).query_heads is None


def test_a_trained_model_shows_its_heads(zoo: Zoo) -> None:
    found = structure_of(dict(zoo.models["base"]))
    assert (found.query_heads, found.kv_heads, found.head_width) == (4, 2, 16)


def test_no_trained_model_shows_wrong_heads(zoo: Zoo) -> None:
    told = {name: structure_of(dict(each)).head_width for name, each in zoo.models.items()}
    assert set(told.values()) <= {16, None}, told


def test_a_head_that_repeats_the_embedding_is_tied() -> None:
    arrays = planted_llama()
    assert structure_of({**arrays, "lm_head.weight": arrays["model.embed_tokens.weight"].copy()}).tied
    table = np.tile(arrays["model.embed_tokens.weight"], (16, 1))
    nearly = table.copy()
    nearly[-1, -1] += 1  # beyond the rows that are read at first
    assert structure_of({**arrays, "model.embed_tokens.weight": table, "lm_head.weight": table.copy()}).tied
    assert not structure_of({**arrays, "model.embed_tokens.weight": table, "lm_head.weight": nearly}).tied
    del arrays["lm_head.weight"]
    assert structure_of(arrays).tied


def test_a_head_under_a_strange_name_is_not_called_tied() -> None:
    arrays = planted_llama()
    arrays["projection.weight"] = arrays.pop("lm_head.weight")
    found = structure_of(arrays)
    assert not found.tied and found.findings["head"].value == "unknown"


def test_gpt2_stores_its_matrices_the_other_way_round() -> None:
    arrays = {"wte.weight": np.ones((50, 8)), "wpe.weight": np.ones((16, 8)), "ln_f.weight": np.ones(8)}
    sizes = {"attn.c_attn": (8, 24), "attn.c_proj": (8, 8), "mlp.c_fc": (8, 32), "mlp.c_proj": (32, 8)}
    for layer in range(2):
        arrays |= {f"h.{layer}.{name}.weight": np.ones(size) for name, size in sizes.items()}
        arrays |= {f"h.{layer}.{name}.bias": np.ones(size[1]) for name, size in sizes.items()}
        arrays |= {f"h.{layer}.ln_{number}.{end}": np.ones(8) for number in (1, 2) for end in ("weight", "bias")}
    found = structure_of({name: each.astype(np.float32) for name, each in arrays.items()}, n_head=2)
    assert {part.transposed for part in found.parts.values() if part.role in (Role.DOWN, Role.ATTENTION_OUTPUT)} == {
        True
    }
    assert (found.mlp_width, found.query_heads, found.head_width) == (32, 2, 4)
    assert {name: each.value for name, each in found.axes.items()} == {
        "attention": "multi-head, biases",
        "activation": "plain",
        "normalisation": "LayerNorm, pre",
        "positions": "learned",
    }


def test_experts_are_not_taken_for_one_mlp() -> None:
    arrays = {name: each for name, each in planted_llama().items() if ".mlp." not in name}
    for layer in range(LAYERS):
        for expert in range(2):
            for part, shape in (("w1", (F, D)), ("w2", (D, F)), ("w3", (F, D))):
                name = f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight"
                arrays[name] = np.ones(shape, np.float32)
    found = structure_of(arrays)
    assert found.axes["activation"].value == "experts" and found.mlp_width == 0


@pytest.mark.parametrize("layer", [0, 3])
def test_a_layer_unlike_the_others_is_told(layer: int) -> None:
    arrays = planted_llama()
    for part in ("gate", "up"):
        arrays[f"model.layers.{layer}.mlp.{part}_proj.weight"] = np.ones((F // 2, D), np.float32)
    found = structure_of(arrays)
    assert found.mlp_width == F and f"layer {layer} has {F // 2} units" in found.findings["layers"].evidence


def test_a_layer_that_diverged_does_not_hide_the_heads_of_the_others() -> None:
    arrays = {
        name: np.full_like(each, np.inf) if "layers.2." in name else each for name, each in planted_llama().items()
    }
    assert structure_of(arrays).head_width == K
