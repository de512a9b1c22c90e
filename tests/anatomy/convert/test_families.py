"""Every family, from and to every form that can hold it, with the same logits; in each of them positions matter."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from fromscratch.anatomy.convert.convert import convert_model
from fromscratch.anatomy.ggml_blocks import decode_blocks, encode_blocks
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.model.files import load_model

VOCABULARY = 96
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.4}
SMALL |= {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 8192}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, wide heads": ("llama", {"head_dim": 16}),
    "llama 3.1": ("llama", {"rope_parameters": LLAMA3}),
    "llama, linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral, window": ("mistral", {"sliding_window": 8}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
}


@cache
def model_of(family: str) -> PreTrainedModel:
    kind, changes = FAMILIES[family]
    config = CONFIG_MAPPING[kind](**{**({} if kind == "gpt2" else SMALL), **changes, "vocab_size": VOCABULARY})
    config.initializer_range = 0.4
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for name, each in model.named_parameters():
        if each.dim() == 1:  # else biases are 0 and norms 1, and a wrong place of one is not seen
            torch.nn.init.normal_(each, 1.0 if "norm" in name or "ln_" in name else 0.0, 0.3)
    return model


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[[str], Path]:
    def make(family: str) -> Path:
        model_of(family).save_pretrained(tmp_path / "source")
        return tmp_path / "source"

    return make


def some_tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (2, 48), generator=torch.Generator().manual_seed(1))


def nats(one_BTV: torch.Tensor, other_BTV: torch.Tensor) -> float:
    one, other = one_BTV.double().log_softmax(-1), other_BTV.double().log_softmax(-1)
    return float((one.exp() * (one - other)).sum(-1).max())


def theirs(family: str) -> torch.Tensor:
    with torch.inference_mode():
        return model_of(family)(some_tokens()).logits


def ours(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return load_model(folder).eval()(some_tokens())


@pytest.mark.parametrize("family", FAMILIES)
def test_our_decoder_gives_the_logits_of_transformers(
    family: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    convert_model(folder_of(family), "native", tmp_path / "native")
    assert nats(theirs(family), ours(tmp_path / "native")) < 1e-9


WAYS = {
    "gguf": tuple(each for each in FAMILIES if "window" not in each),
    "litgpt": tuple(each for each in FAMILIES if each not in ("gpt2", "mistral, window", "llama, biases")),
    "llama": tuple(each for each in FAMILIES if each not in ("gpt2", "qwen3", "mistral, window")),
    "yi": ("llama", "qwen2"),
}


@pytest.mark.parametrize(("form", "family"), [(form, each) for form, several in WAYS.items() for each in several])
def test_there_and_back_loses_no_bit(form: str, family: str, folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    convert_model(folder_of(family), "native", tmp_path / "native")
    there = tmp_path / (f"{form}.gguf" if form == "gguf" else form)
    convert_model(tmp_path / "native", form, there)
    if form == "llama":
        read, report = AutoModelForCausalLM.from_pretrained(
            there, attn_implementation="eager", output_loading_info=True
        )
        assert type(read).__name__ == "LlamaForCausalLM"
        assert not any(report.values()), report
        with torch.inference_mode():
            assert nats(theirs(family), read.eval()(some_tokens()).logits) < 1e-9
    convert_model(there, "native", tmp_path / "back")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("native", "back"))
    if form == "litgpt" and "head.weight" in after and "head.weight" not in before:
        assert torch.equal(after.pop("head.weight"), before["embedding.weight"]), "LitGPT keeps a head of its own"
    padding = {name: each for name, each in after.items() if name not in before}
    assert all(name.endswith(".bias") and not each.any() for name, each in padding.items())
    assert {name: each.tolist() for name, each in before.items()} == {name: after[name].tolist() for name in before}
    settings = [json.loads((tmp_path / name / "model.json").read_text())["settings"] for name in ("native", "back")]
    for told in settings:
        told.pop("init")
        if padding or form == "litgpt":
            told.pop("head"), told.pop("biases")
    assert settings[0] == settings[1]


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_1", "Q4_0"])
def test_gguf_in_each_form_holds_what_that_form_makes_of_the_numbers(
    kind: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    convert_model(folder_of("llama"), "native", tmp_path / "native")
    convert_model(tmp_path / "native", "gguf", tmp_path / "model.gguf", kind=kind)
    convert_model(tmp_path / "model.gguf", "native", tmp_path / "back", kind="F32")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("native", "back"))
    for name, each in before.items():
        form = "F32" if each.dim() == 1 else kind
        if kind in ("Q4_0", "Q4_1") and name in ("embedding.weight", "head.weight"):
            form = "Q8_0"  # both ends stay finer
        assert torch.equal(after[name], in_form(each, form)), name


def in_form(weights: torch.Tensor, kind: str) -> torch.Tensor:
    if kind.startswith("Q"):
        blocks = encode_blocks(weights.numpy(), kind).tobytes()
        return torch.from_numpy(decode_blocks(blocks, kind)).view(weights.shape)
    return weights.to({"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[kind]).float()


def test_the_other_order_of_rotary_pairs_would_be_seen(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """What the tests above would miss at random weights of the usual size."""
    convert_model(folder_of("llama"), "native", tmp_path / "native")
    weights = load_file(tmp_path / "native" / "model.safetensors")
    for name in weights:
        if name.endswith(("attention.query.weight", "attention.key.weight")):
            weights[name] = weights[name].view(-1, 2, 4, 32).swapaxes(1, 2).reshape(-1, 32).contiguous()
    save_file(weights, tmp_path / "native" / "model.safetensors")
    described = json.loads((tmp_path / "native" / "model.json").read_text())
    digest = digest_file(tmp_path / "native" / "model.safetensors")
    (tmp_path / "native" / "model.json").write_text(json.dumps({**described, "sha256": digest}))
    assert nats(theirs("llama"), ours(tmp_path / "native")) > 0.1


REFUSED = {
    ("mistral, window", "llama"): r"`window_tokens` is not what llama computes.*\n.*--set context_tokens=8",
    ("mistral, window", "gguf"): "`window_tokens` is not what gguf computes",
    ("qwen3", "llama"): "`qk_norm` is not what llama computes",
    ("gpt2", "llama"): "is not what llama computes, which has",
    ("gpt2", "litgpt"): "is not what litgpt computes",
    ("llama, biases", "litgpt"): "`biases` is not what litgpt computes",
}


@pytest.mark.parametrize(("family", "target"), REFUSED)
def test_what_a_target_cannot_compute_is_refused(
    family: str, target: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(FromScratchError, match=REFUSED[family, target]):
        convert_model(folder_of(family), target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_within_its_window_a_model_is_llama(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    convert_model(folder_of("mistral, window"), "llama", tmp_path / "out", overrides={"context_tokens": 8})
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    few_BT = some_tokens()[:, :8]
    with torch.inference_mode():
        assert nats(model_of("mistral, window")(few_BT).logits, read(few_BT).logits) < 1e-9


def test_without_a_config_weights_say_all_but_three_numbers(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of("llama, wide heads")
    (folder / "config.json").unlink()
    with pytest.raises(FromScratchError, match=r"weights do not tell `positions\.base`"):
        convert_model(folder, "native", tmp_path / "native")


def test_a_head_that_the_config_denies_is_asked_about(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of("llama, tied")
    weights = load_file(folder / "model.safetensors")
    head = weights["model.embed_tokens.weight"].clone()
    save_file({**weights, "lm_head.weight": head}, folder / "model.safetensors")
    done = convert_model(folder, "native", tmp_path / "copy")
    assert "second copy" in done["dropped"]["lm_head.weight"]
    head[3, 3] += 1
    save_file({**weights, "lm_head.weight": head}, folder / "model.safetensors")
    with pytest.raises(FromScratchError, match=r"has another head, `lm_head\.weight`"):
        convert_model(folder, "native", tmp_path / "out")
    convert_model(folder, "native", tmp_path / "kept", overrides={"head": "untied"})
    assert np.array_equal(load_file(tmp_path / "kept" / "model.safetensors")["head.weight"].numpy(), head.numpy())


def test_a_config_of_another_model_is_refused_by_the_tensor(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of("llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(FromScratchError, match="norm of layer 2 is missing"):
        convert_model(folder, "native", tmp_path / "out")
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 65}))
    with pytest.raises(FromScratchError, match=r"the up of layer 0, `model.layers.0.mlp.up_proj.weight`, is \[64, 32"):
        convert_model(folder, "native", tmp_path / "out")
