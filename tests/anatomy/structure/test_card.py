"""The card of a checkpoint, as `inspect` shows it, and the family it is nearest to."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fromscratch.anatomy.structure.card import model_card, model_page
from fromscratch.anatomy.structure.families import nearest_family
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.roles import Finding
from fromscratch.anatomy.tensors import checkpoint_of_arrays
from fromscratch.cli import main
from fromscratch.core.errors import FromScratchError
from fromscratch.inspect_model import inspect_subject
from fromscratch.model.arithmetic import flops_per_token, key_value_cache_bytes, parameters
from tests.anatomy.structure.planted import VOCABULARY, H, planted_llama
from tests.anatomy.trained import SHAPE
from tests.anatomy.trained import VOCABULARY as TRAINED_VOCABULARY
from tests.anatomy.zoo import Zoo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(planted_llama(), tmp_path / "model.safetensors")
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 5e6, "hidden_act": "silu"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_the_card_counts_what_the_settings_of_a_model_count(zoo: Zoo) -> None:
    card = model_card(zoo.checkpoint("base"))
    counted = parameters(SHAPE, TRAINED_VOCABULARY)
    assert card["parameters"]["total"] == counted.total
    assert [card["parameters"][part] for part in ("embedding", "attention", "mlp", "norms", "head")] == [
        *(counted.embedding, counted.attention, counted.mlp, counted.norms, counted.head)
    ]
    assert card["key_value_cache_bytes_per_token"] == key_value_cache_bytes(SHAPE, 1, 1)
    flops = flops_per_token(SHAPE, TRAINED_VOCABULARY, SHAPE.context_tokens) // 3
    assert card["flops_per_token"]["in_full_context"] == pytest.approx(flops, rel=1e-3)


def test_inspect_opens_a_folder_and_tells_claims_from_findings(folder: Path) -> None:
    page = inspect_subject(str(folder))
    assert "grouped-query, no biases, 6 heads of 16 over 2" in page
    assert "halves turn together, base 5,000,000 says its config" in page
    assert "the epsilon of norms: its config says 1e-05" in page
    assert "names           Llama's: 75 of 75 are explained" in page


def test_blind_the_config_is_not_read(folder: Path) -> None:
    page = inspect_subject(str(folder), blind=True)
    assert "read blind" in page and "config says" not in page and "Llama" not in page
    assert "6 heads of 16 over 2" in page and "the epsilon of norms: nothing claims one" in page


def test_the_json_card_has_the_role_of_each_tensor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["tensors"]["model.layers.3.mlp.up_proj.weight"] == {
        "role": "up",
        "layer": 3,
        "shape": [176, 96],
        "transposed": False,
    }
    assert card["stored"] == {"F32": sum(each.size for each in planted_llama().values())}


def test_a_preset_cannot_be_looked_at_blind() -> None:
    with pytest.raises(FromScratchError, match="no weights"):
        inspect_subject("yi-6b", blind=True)


def test_a_page_is_made_of_whatever_is_opened() -> None:
    for arrays in ({}, {"a": np.ones((2, 3), np.float32)}, {"b": np.float32(1).reshape(())}):
        assert model_page(model_card(checkpoint_of_arrays(arrays)))


def test_a_published_shape_is_one_with_those_that_weights_do_not_tell_apart() -> None:
    found = find_structure(checkpoint_of_arrays(planted_llama(), {"num_attention_heads": H, "num_key_value_heads": 2}))
    yi = {"layers": 32, "width": 4096, "mlp_width": 11008, "query_heads": 32, "kv_heads": 4, "head_width": 128}
    nearest = nearest_family(replace(found, **yi, vocabulary=64000))
    assert nearest is not None and nearest.same_shape
    assert {nearest.name, *nearest.also} == {"yi-6b", "yi-6b-200k", "yi-1.5-6b"}


def test_differences_from_the_nearest_family_are_named() -> None:
    found = find_structure(checkpoint_of_arrays(planted_llama()))
    assert found.vocabulary == VOCABULARY
    llama2 = {"layers": 32, "width": 4096, "mlp_width": 11008, "query_heads": 32, "kv_heads": 32, "head_width": 128}
    axes = {**found.axes, "attention": Finding("multi-head, biases", "certain", "")}
    nearest = nearest_family(replace(found, **llama2, vocabulary=32016, axes=axes))
    assert nearest is not None and nearest.name in ("llama-7b", "llama2-7b")
    assert nearest.axes == (("attention", "multi-head, no biases", "multi-head, biases"),)
    assert nearest.sizes == (("vocabulary", "32,000", "32,016"),)


def test_other_axes_weigh_more_than_other_sizes() -> None:
    found = find_structure(checkpoint_of_arrays(planted_llama()))
    gpt2 = {"layers": 12, "width": 768, "mlp_width": 3072, "query_heads": 12, "kv_heads": 12, "head_width": 64}
    nearest = nearest_family(replace(found, **gpt2, vocabulary=50257, tied=True))
    assert nearest is not None and not nearest.axes and nearest.sizes


def test_a_head_that_repeats_the_embedding_is_counted_once() -> None:
    arrays = planted_llama()
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"].copy()
    counts = model_card(checkpoint_of_arrays(arrays))["parameters"]
    assert counts["head"] == 0 and counts["embedding"] == arrays["lm_head.weight"].size
