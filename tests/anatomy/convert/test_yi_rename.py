"""The affair's checkpoint, small: Yi's names, code and stale leftovers go in, a plain Llama folder comes out."""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from fromscratch.anatomy.convert.convert import convert_model, plan_conversion
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.core.errors import FromScratchError
from tests.model.conftest import VOCABULARY, peer_of, recollections, trained_decoder

RENAMED = {"input_layernorm": "ln1", "post_attention_layernorm": "ln2"}
NEVER_RUN = "raise SystemExit('the model\\'s code was run')\n"


def yi_name(name: str) -> str:
    for plain, theirs in RENAMED.items():
        name = name.replace(plain, theirs)
    return name


@pytest.fixture
def llama() -> LlamaForCausalLM:
    return peer_of(trained_decoder()).to(torch.bfloat16)


@pytest.fixture
def yi(llama: LlamaForCausalLM, tmp_path: Path) -> Path:
    """Two shards with an index, code of its own, rotary frequencies, and what an earlier upload left behind."""
    folder = tmp_path / "yi"
    folder.mkdir()
    weights = {yi_name(name): each.clone() for name, each in llama.state_dict().items()}
    for layer in range(2):
        weights[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    names = sorted(weights)
    shards = {f"model-0000{number + 1}-of-00002.safetensors": names[number::2] for number in range(2)}
    for file, several in shards.items():
        save_file({name: weights[name] for name in several}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, several in shards.items() for name in several}}
    write(folder / "model.safetensors.index.json", index)
    stale = {"weight_map": dict.fromkeys(names, "pytorch_model-00001-of-00007.bin")}
    write(folder / "pytorch_model.bin.index.json", stale)
    config = llama.config.to_dict()
    code = {"AutoConfig": "configuration_yi.YiConfig", "AutoModelForCausalLM": "modeling_yi.YiForCausalLM"}
    rope = {"rope_theta": config.pop("rope_parameters")["rope_theta"]}
    write(
        folder / "config.json",
        {**config, **rope, "model_type": "Yi", "architectures": ["YiForCausalLM"], "auto_map": code, "eos_token_id": 2},
    )
    for name in ("configuration_yi.py", "modeling_yi.py", "tokenization_yi.py"):
        (folder / name).write_text(NEVER_RUN)
    (folder / "LICENSE").write_text("Yi Series Models License Agreement")
    return folder


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, default=str))


def digests(folder: Path) -> dict[str, str]:
    tensors = open_checkpoint(folder).tensors.values()
    return {each.name: hashlib.sha256(each.read_raw(0, each.nbytes)).hexdigest() for each in tensors}


def test_it_becomes_llama_by_its_headers_alone(yi: Path, tmp_path: Path) -> None:
    done = convert_model(yi, "llama", tmp_path / "llama")
    assert done["only_renamed"] and done["renamed"] == 4  # two in each layer
    assert set(done["dropped"]) == {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq" for layer in range(2)}
    assert "configuration_yi.py" in done["remarks"][0]
    before, after = digests(yi), digests(tmp_path / "llama")
    assert {yi_name(name): digest for name, digest in after.items()} == {
        name: digest for name, digest in before.items() if not name.endswith("inv_freq")
    }
    for file in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        with safe_open(yi / file, "pt") as one, safe_open(tmp_path / "llama" / file, "pt") as other:
            kept = {name for name in one.keys() if not name.endswith("inv_freq")}  # noqa: SIM118
            assert {yi_name(name) for name in other.keys()} == kept, "each file keeps its tensors"  # noqa: SIM118


def test_transformers_loads_it_without_its_code(yi: Path, llama: LlamaForCausalLM, tmp_path: Path) -> None:
    convert_model(yi, "llama", tmp_path / "llama")
    read, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "llama", trust_remote_code=False, attn_implementation="eager", output_loading_info=True
    )
    assert type(read) is LlamaForCausalLM and not any(report.values())
    assert read.dtype == torch.bfloat16
    expected = llama.state_dict()
    assert all(torch.equal(each, expected[name]) for name, each in read.state_dict().items())
    whole = peer_of(trained_decoder())
    whole.load_state_dict({name: each.float() for name, each in expected.items()})
    tokens_BT, _ = recollections(2, 64)
    with torch.inference_mode():
        assert torch.equal(read.float().eval()(tokens_BT).logits, whole.eval()(tokens_BT).logits)
    files = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "llama").iterdir()}
    assert set(files.values()) == {0o644}
    assert "LICENSE" in files and not [name for name in files if name.endswith((".py", ".bin.index.json"))]


def test_the_config_is_for_transformers_4_and_5(yi: Path, tmp_path: Path) -> None:
    convert_model(yi, "llama", tmp_path / "llama")
    config = json.loads((tmp_path / "llama" / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 500.0
    assert config["torch_dtype"] == config["dtype"] == "bfloat16"
    assert config["rms_norm_eps"] == 1e-6 and config["vocab_size"] == VOCABULARY
    assert "auto_map" not in config and config["model_type"] == "llama"
    assert AutoConfig.from_pretrained(tmp_path / "llama").rope_parameters["rope_theta"] == 500.0


def test_there_and_back_the_files_are_the_same_to_the_byte(yi: Path, tmp_path: Path) -> None:
    convert_model(yi, "llama", tmp_path / "llama")
    convert_model(tmp_path / "llama", "yi", tmp_path / "yi-again")
    convert_model(tmp_path / "yi-again", "llama", tmp_path / "llama-again")
    for each in (tmp_path / "llama").glob("*.safetensors"):
        assert each.read_bytes() == (tmp_path / "llama-again" / each.name).read_bytes()
    names = load_file(tmp_path / "yi-again" / "model-00001-of-00002.safetensors")
    assert not [name for name in names if "layernorm" in name]


def test_the_plan_can_be_read_before_anything_is_written(yi: Path) -> None:
    made = plan_conversion(yi, "llama")
    renames = made.plan.renames(made.checkpoint)
    assert renames is not None
    assert renames["model.layers.1.ln2.weight"] == "model.layers.1.post_attention_layernorm.weight"
    assert sum(old != new for old, new in renames.items()) == 4


def test_nothing_is_written_over(yi: Path, tmp_path: Path) -> None:
    convert_model(yi, "llama", tmp_path / "llama")
    with pytest.raises(FromScratchError, match="llama: is there already"):
        convert_model(yi, "llama", tmp_path / "llama")


def test_a_tensor_that_no_decoder_has_is_refused_by_its_name(yi: Path, tmp_path: Path) -> None:
    shard = yi / "model-00001-of-00002.safetensors"
    save_file({**load_file(shard), "model.vision.patch.weight": torch.ones(2, 2)}, shard)
    (yi / "model.safetensors.index.json").unlink()
    with pytest.raises(FromScratchError, match=r"model\.vision\.patch\.weight"):
        convert_model(yi, "llama", tmp_path / "llama")
    assert not list(tmp_path.glob("*llama*")), "nothing half-made stays"
