"""The way to the names and the config of LlamaForCausalLM."""

import json

import pytest

from fromscratch.model.llama_names import from_llama_name, llama_config, tensor_names, to_llama_name

from .conftest import peer_of, small_decoder, small_settings


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
