"""What llama.cpp reads of a GGUF file, held to its own rules and not to our way back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from fromscratch.anatomy.convert.convert import convert_model
from fromscratch.anatomy.convert.rotary_factors import known_llama3_scaling, llama3_factors
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.model.settings import Llama3Scaling
from tests.model.conftest import peer_of, trained_decoder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    peer_of(trained_decoder()).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def test_rows_of_queries_and_keys_lie_as_its_architecture_llama_turns_them(llama: Path, tmp_path: Path) -> None:
    """Number i of a head and number i + half of it, which turn together, become neighbours; values stay."""
    convert_model(llama, "gguf", tmp_path / "model.gguf")
    made = open_checkpoint(tmp_path / "model.gguf").tensors
    plain = load_file(llama / "model.safetensors")
    for theirs, ours, heads in (("attn_q", "q_proj", 4), ("attn_k", "k_proj", 2)):
        rows = plain[f"model.layers.1.self_attn.{ours}.weight"].numpy()
        width = rows.shape[0] // heads
        order = [
            head * width + at + half * width // 2
            for head in range(heads)
            for at in range(width // 2)
            for half in (0, 1)
        ]
        assert np.array_equal(made[f"blk.1.{theirs}.weight"].read(), rows[order])
    values = plain["model.layers.1.self_attn.v_proj.weight"].numpy()
    assert np.array_equal(made["blk.1.attn_v.weight"].read(), values)


def test_the_table_says_what_the_model_is(llama: Path, tmp_path: Path) -> None:
    convert_model(llama, "gguf", tmp_path / "model.gguf", kind="Q8_0")
    table = open_checkpoint(tmp_path / "model.gguf").config
    assert table["general.architecture"] == "llama"
    assert (table["general.file_type"], table["general.quantization_version"]) == (7, 2)
    sizes = {"block_count": 2, "embedding_length": 32, "feed_forward_length": 48, "context_length": 160}
    sizes |= {"attention.head_count": 4, "attention.head_count_kv": 2, "rope.dimension_count": 8, "vocab_size": 96}
    assert {key: table[f"llama.{key}"] for key in sizes} == sizes
    assert table["llama.rope.freq_base"] == 500.0
    assert table["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)


def test_factors_of_frequencies_are_those_of_transformers() -> None:
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"original_max_position_embeddings": 8192}
    config = LlamaConfig(hidden_size=512, num_attention_heads=4, max_position_embeddings=131072, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1.0 / 5e5 ** (torch.arange(0, 128, 2).double() / 128)
    scaling = Llama3Scaling(factor=8, original_context_tokens=8192)
    factors = llama3_factors(5e5, 128, scaling)
    assert np.allclose(factors, (plain / scaled).numpy(), rtol=1e-5)
    assert known_llama3_scaling(5e5, 128, factors) == scaling
    assert known_llama3_scaling(5e5, 128, [each * 1.01 for each in factors]) is None
