"""Folders that `transformers` writes are read with the same logits; what does not fit is refused by its own names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from fromscratch.core.errors import FromScratchError
from fromscratch.model.initialisation import Normal
from fromscratch.model.transformers_folder import read_transformers_folder

from .conftest import peer_of, recollections, small_decoder, small_settings, trained_decoder


@pytest.fixture
def llama_folder(tmp_path: Path) -> Path:
    """A folder as `transformers` writes it, of a decoder that was trained, so that positions matter."""
    peer_of(trained_decoder()).save_pretrained(tmp_path)
    return tmp_path


def logits_agree(folder: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    tokens_BT, _ = recollections(2, 64, seed=8)
    logits_BTV = theirs(tokens_BT).logits.detach()
    tolerance = 1e-5 * max(1.0, logits_BTV.abs().max().item())
    torch.testing.assert_close(read_transformers_folder(folder)(tokens_BT).detach(), logits_BTV, atol=tolerance, rtol=0)


def test_a_folder_written_by_transformers_loads_with_the_same_logits(llama_folder: Path) -> None:
    logits_agree(llama_folder)


def test_sharded_half_precision_folders_load_too(llama_folder: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(llama_folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    logits_agree(tmp_path / "sharded")


def test_a_stored_copy_of_the_tied_head_and_old_rotary_tensors_are_passed_over(tmp_path: Path) -> None:
    peer_of(small_decoder(head="tied")).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(weights, tmp_path / "model.safetensors")
    assert read_transformers_folder(tmp_path).head is None


def test_configs_of_transformers_4_give_the_same_settings(llama_folder: Path) -> None:
    path = llama_folder / "config.json"
    config = json.loads(path.read_text())
    base = config.pop("rope_parameters")["rope_theta"]
    path.write_text(json.dumps({**config, "rope_theta": base, "rope_scaling": None}))
    assert read_transformers_folder(llama_folder).settings == small_settings(init=Normal())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bloom"}, "`model_type` = 'bloom' is not known"),
        ({"hidden_act": "quick_gelu"}, '`activation` = "quick_gelu" is refused'),
        ({"attention_bias": True}, "tensor `model.layers.0.self_attn.q_proj.bias` is missing"),
        (
            {"rope_parameters": {"rope_type": "longrope", "rope_theta": 5.0, "factor": 2}},
            "`positions.scaling.kind` = 'lon",
        ),
        ({"quantization_config": {"bits": 4}}, "its weights are quantised"),
        (
            {"head_dim": 16},
            "tensor `model.layers.0.self_attn.q_proj.weight` is [32, 32], where the settings ask for [64",
        ),
        ({"vocab_size": None}, "`vocab_size` is missing"),
        ({"num_key_value_heads": 3}, "`kv_heads` = 3 does not divide `heads` = 4"),
        (
            {"intermediate_size": 64},
            "tensor `model.layers.0.mlp.gate_proj.weight` is [48, 32], where the settings ask for [64, 32]",
        ),
        ({"num_hidden_layers": 1}, "tensor `model.layers.1.input_layernorm.weight` is [32], where"),
        (
            {"num_hidden_layers": 3},
            "tensor `model.layers.2.input_layernorm.weight` is missing, where the settings ask for [32]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(llama_folder: Path, changes: dict[str, Any], message: str) -> None:
    path = llama_folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(FromScratchError) as caught:
        read_transformers_folder(llama_folder)
    assert str(llama_folder) in caught.value.message
    assert message in caught.value.message


def test_folders_that_are_not_whole_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match=r"config\.json: no such file"):
        read_transformers_folder(tmp_path / "elsewhere")
    weights = load_file(llama_folder / "model.safetensors")
    weights["model.layers.0.ln9.weight"] = weights.pop("model.layers.0.input_layernorm.weight")
    save_file(weights, llama_folder / "model.safetensors")
    with pytest.raises(FromScratchError, match=r"tensor `model\.layers\.0\.input_layernorm\.weight` is missing"):
        read_transformers_folder(llama_folder)
    (llama_folder / "model.safetensors").unlink()
    with pytest.raises(FromScratchError, match=r"model\.safetensors: no such file"):
        read_transformers_folder(llama_folder)
    (llama_folder / "config.json").write_text("[]")
    with pytest.raises(FromScratchError, match=r"config\.json: not readable \(no JSON object\)"):
        read_transformers_folder(llama_folder)
