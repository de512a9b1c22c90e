"""A checkpoint of Yi-6B's shape under the names of its first upload, put right: time, memory, and whether it loads.

    python benchmarks/yi_rename.py [--folder FOLDER] [--layers 32] [--load]

Writes 2 shards of bf16 (12.1 GB; numbers at random), with Yi's config, `auto_map` and code that ends the program if it
is run, with `rotary_emb.inv_freq` tensors and the index of an older upload. Then `fromscratch convert --to llama`,
beside a copy of the same files, both until they are on the disk; the digests of all tensors before and after; and with
--load the class that transformers loads, where there is memory for it. FOLDER needs room for two copies.
"""

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.model.llama_names import tensor_names, to_llama_name
from fromscratch.model.presets import PRESETS
from fromscratch.model.settings import DecoderSettings

BLOCK_BYTES = 1 << 26
CODE = {"AutoConfig": "configuration_yi.YiConfig", "AutoModelForCausalLM": "modeling_yi.YiForCausalLM"}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--load", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        settings = PRESETS["yi-6b"].settings.model_copy(update={"layers": asked.layers})
        size = write_yi(folder / "yi", settings, PRESETS["yi-6b"].vocabulary)
        print(f"{size / 1e9:.2f} GB in 2 shards; {platform.machine()}, {os.cpu_count()} cores\n")
        before = _digests(folder / "yi")
        copied = _timed(lambda: shutil.copytree(folder / "yi", folder / "copy"))
        shutil.rmtree(folder / "copy")
        os.sync()
        _digests(folder / "yi")  # as before the copy: read once, in the page cache as far as it fits
        command = [sys.executable, "-m", "fromscratch", "convert", str(folder / "yi"), "--to", "llama", "--json"]
        answer: list[str] = []
        taken = _timed(lambda: answer.append(_run([*command, "--out", str(folder / "llama")])))
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = json.loads(answer[0])
        print(f"convert  {taken:6.1f} s, {size / taken / 1e9:.2f} GB/s; ", end="")
        print(f"{used.ru_utime:.1f} s of it reckoning, {used.ru_stime:.1f} s in the kernel; ", end="")
        print(f"{used.ru_maxrss / 1024:,.0f} MB at most")
        print(f"copying  {copied:6.1f} s, {size / copied / 1e9:.2f} GB/s")
        print(f"only renamed: {done['only_renamed']}; {done['renamed']} of {done['tensors']}; not written: ", end="")
        print(f"{len(done['dropped'])} tensors; {'; '.join(done['remarks'])}")
        after = {_first_name(name): digest for name, digest in _digests(folder / "llama").items()}
        same = after == {name: digest for name, digest in before.items() if not name.endswith("inv_freq")}
        print(f"digests of all {len(after)} tensors equal: {same}")
        if asked.load and (free := _available_bytes()) < 1.1 * size:
            print(f"not loaded: {free / 1e9:.1f} GB of memory are free, and {1.1 * size / 1e9:.1f} would be needed")
        elif asked.load:
            print(_run([sys.executable, "-c", LOAD, str(folder / "llama")]).strip())
    return 0 if same and done["only_renamed"] else 3


LOAD = """
import sys, time, torch
from transformers import AutoModelForCausalLM
model, report = AutoModelForCausalLM.from_pretrained(
    sys.argv[1], trust_remote_code=False, dtype=torch.bfloat16, output_loading_info=True
)
odd = {kind: names for kind, names in report.items() if names}
with torch.inference_mode():
    logits = model(torch.arange(8).unsqueeze(0)).logits
print(f"transformers loads {type(model).__name__}, {model.num_parameters():,} parameters, odd: {odd or 'nothing'};",
      f"logits of {list(logits.shape)}, finite: {bool(logits.isfinite().all())}")
"""


def write_yi(folder: Path, settings: DecoderSettings, vocabulary: int) -> int:
    """Write the checkpoint and return the bytes of its shards."""
    folder.mkdir()
    shapes = {_first_name(to_llama_name(name)): _shape(name, settings, vocabulary) for name in tensor_names(settings)}
    for layer in range(settings.layers):
        shapes[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = (settings.key_width // 2,)
    names, half = list(shapes), len(shapes) // 2
    parts = (names[:half], names[half:])
    random = np.random.default_rng(0)
    # Small numbers, as bf16: the upper halves of normal fp32 numbers.
    block = (random.standard_normal(BLOCK_BYTES // 2, np.float32) * 0.02).view(np.uint32) >> 16
    for file, part in zip(SHARDS, parts, strict=True):
        _write_shard(folder / file, {name: shapes[name] for name in part}, block.astype("<u2").tobytes(), random)
    weight_map = {name: file for file, part in zip(SHARDS, parts, strict=True) for name in part}
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    old = dict.fromkeys(weight_map, "pytorch_model-00001-of-00007.bin")
    _write(folder / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": old})
    for code in ("configuration_yi.py", "modeling_yi.py"):
        (folder / code).write_text("raise SystemExit('the code of the model was run')\n", encoding="utf-8")
    config = {"architectures": ["YiForCausalLM"], "auto_map": CODE, "model_type": "Yi", "vocab_size": vocabulary}
    config |= {"hidden_size": settings.width, "intermediate_size": settings.ffn_width, "rope_theta": 5e6}
    config |= {"num_hidden_layers": settings.layers, "num_attention_heads": settings.heads, "hidden_act": "silu"}
    config |= {"num_key_value_heads": settings.kv_heads, "rms_norm_eps": settings.norm_epsilon, "use_cache": True}
    config |= {"max_position_embeddings": settings.context_tokens, "tie_word_embeddings": False}
    config |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "torch_dtype": "bfloat16"}
    _write(folder / "config.json", config)
    return sum((folder / file).stat().st_size for file in SHARDS)


def _shape(name: str, settings: DecoderSettings, vocabulary: int) -> tuple[int, ...]:
    width, queries, keys, ffn = settings.width, settings.query_width, settings.kv_width, settings.ffn_width
    if name.endswith("norm.weight"):
        return (width,)
    inside = {"query": (queries, width), "key": (keys, width), "value": (keys, width), "output": (width, queries)}
    inside |= {"gate": (ffn, width), "up": (ffn, width), "down": (width, ffn)}
    return inside.get(name.split(".")[-2], (vocabulary, width))


def _write_shard(path: Path, shapes: dict[str, tuple[int, ...]], block: bytes, random: np.random.Generator) -> None:
    """A shard whose tensors are stretches of the block, each from a place of its own."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    with path.open("wb") as file:
        file.write(len(packed).to_bytes(8, "little") + packed)
        for shape in shapes.values():
            left = 2 * int(np.prod(shape))
            while left:
                start = 2 * int(random.integers(len(block) // 4))
                left -= file.write(block[start : start + min(left, len(block) // 2)])


def _first_name(name: str) -> str:
    return name.replace("input_layernorm", "ln1").replace("post_attention_layernorm", "ln2")


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    tensors = sorted(open_checkpoint(folder).tensors.values(), key=lambda each: (each.file, each.offset))
    for tensor in tensors:
        digest = hashlib.sha256()
        for first in range(0, tensor.nbytes, BLOCK_BYTES):
            digest.update(tensor.read_raw(first, min(BLOCK_BYTES, tensor.nbytes - first)))
        found[tensor.name] = digest.hexdigest()
    return found


def _available_bytes() -> int:
    told = Path("/proc/meminfo").read_text(encoding="ascii")
    return 1024 * int(next(line for line in told.splitlines() if line.startswith("MemAvailable")).split()[1])


def _timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    os.sync()
    return time.monotonic() - started


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
