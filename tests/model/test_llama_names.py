"""The way to the names and files of LlamaForCausalLM and back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from fromscratch.core.errors import FromScratchError
from fromscratch.model.llama_names import from_llama, from_llama_name, llama_config, tensor_names, to_llama_name

from .conftest import peer_of, recollections, small_decoder, small_settings, trained_decoder


def test_names_go_to_llama_and_back() -> None:
    names = tensor_names(small_settings(layers=12))
    theirs = [to_llama_name(name) for name in names]
    assert len(set(theirs)) == len(names) == 2 + 9 * 12 + 1
    assert "model.layers.11.post_attention_layernorm.weight" in theirs
    assert [from_llama_name(name) for name in theirs] == names
    for stranger in ("layers.1.attention.query.bias", "lm_head.weight", "layers.x.mlp.up.weight"):
        with pytest.raises(KeyError):
            to_llama_name(stranger)


def test_the_names_are_exactly_those_of_transformers() -> None:
    for head in ("tied", "untied"):
        decoder = small_decoder(head=head)
        ours = {to_llama_name(name): each.shape for name, each in decoder.named_parameters()}
        assert ours == {name: each.shape for name, each in peer_of(decoder).named_parameters()}


def test_the_config_speaks_to_both_versions_of_transformers() -> None:
    config = llama_config(small_settings(), 96, beginning_id=1, end_ids=[2, 7], padding_id=0)
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 500.0
    assert config["dtype"] == config["torch_dtype"] == "float32"
    assert config["eos_token_id"] == [2, 7]
    assert json.loads(json.dumps(config)) == config


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
    torch.testing.assert_close(from_llama(folder)(tokens_BT).detach(), logits_BTV, atol=tolerance, rtol=0)


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
    assert from_llama(tmp_path).head is None


def test_configs_of_transformers_4_give_the_same_settings(llama_folder: Path) -> None:
    path = llama_folder / "config.json"
    config = json.loads(path.read_text())
    base = config.pop("rope_parameters")["rope_theta"]
    path.write_text(json.dumps({**config, "rope_theta": base, "rope_scaling": None}))
    assert from_llama(llama_folder).settings == small_settings()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "Yi"}, '`model_type` = "Yi" is not plain Llama, which has "llama"'),
        ({"hidden_act": "gelu"}, '`hidden_act` = "gelu"'),
        ({"attention_bias": True}, "`attention_bias` = true"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0}}, '`rope_type` = "yarn"'),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, '`rope_type` = "linear"'),
        ({"quantization_config": {"bits": 4}}, '`quantization_config` = {"bits": 4}'),
        ({"head_dim": 16}, "`head_dim` = 16, where hidden_size / heads = 8"),
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
def test_what_is_not_plain_llama_is_refused(llama_folder: Path, changes: dict[str, Any], message: str) -> None:
    path = llama_folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(FromScratchError) as caught:
        from_llama(llama_folder)
    assert str(llama_folder) in caught.value.message
    assert message in caught.value.message


def test_folders_that_are_not_whole_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match=r"config\.json: no such file"):
        from_llama(tmp_path / "elsewhere")
    weights = load_file(llama_folder / "model.safetensors")
    weights["model.layers.0.ln1.weight"] = weights.pop("model.layers.0.input_layernorm.weight")
    save_file(weights, llama_folder / "model.safetensors")
    with pytest.raises(FromScratchError, match=r"tensor `model\.layers\.0\.ln1\.weight` is none of LlamaForCausalLM's"):
        from_llama(llama_folder)
    (llama_folder / "model.safetensors").unlink()
    with pytest.raises(FromScratchError, match=r"model\.safetensors: no such file"):
        from_llama(llama_folder)
    (llama_folder / "config.json").write_text("[]")
    with pytest.raises(FromScratchError, match=r"config\.json: not readable \(no JSON object\)"):
        from_llama(llama_folder)
