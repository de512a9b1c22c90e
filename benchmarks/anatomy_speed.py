"""How long comparing two checkpoints takes beside reading both files once with `cat`, and how much memory.

    python benchmarks/anatomy_speed.py [--gigabytes 3] [--folder FOLDER]

Two Llama-shaped checkpoints in bfloat16 are written, the second a fine-tune of the first. Before each measurement both
files are dropped from the page cache, so that both have to come from the disk; the times with the files in memory are
given as well. The comparison is a process of its own: its time holds imports, opening, finding the structure.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, UNITS, VOCABULARY, KV_WIDTH = 2048, 5632, 32000, 256
LAYER = {
    "input_layernorm": (WIDTH,),
    "post_attention_layernorm": (WIDTH,),
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (KV_WIDTH, WIDTH),
    "self_attn.v_proj": (KV_WIDTH, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (UNITS, WIDTH),
    "mlp.up_proj": (UNITS, WIDTH),
    "mlp.down_proj": (WIDTH, UNITS),
}
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "hidden_size": WIDTH,
}
COMPARE = """
import json, sys, time
from pathlib import Path
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.structure.find import find_structure
a, b = (open_checkpoint(Path(place)) for place in sys.argv[1:])
start = time.perf_counter()
structures = [find_structure(each) for each in (a, b)]
found = time.perf_counter() - start
verdict = compare_weights(a, b, a_structure=structures[0], b_structure=structures[1])
took = time.perf_counter() - start
print(json.dumps({"verdict": verdict.relation.value, "structure_seconds": round(found, 2), "seconds": round(took, 2)}))
"""


def shapes(gigabytes: float) -> dict[str, tuple[int, ...]]:
    """Tensors of a model of about that size."""
    layer_bytes = 2 * sum(int(np.prod(shape)) for shape in LAYER.values())
    outside = {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "lm_head.weight": (VOCABULARY, WIDTH)}
    layers = max(1, round((gigabytes * 1e9 - 4 * VOCABULARY * WIDTH) / layer_bytes))
    inside = {f"model.layers.{n}.{name}.weight": shape for n in range(layers) for name, shape in LAYER.items()}
    return {**outside, "model.norm.weight": (WIDTH,), **inside}


def bfloat16(values: NDArray[np.float32]) -> bytes:
    """Truncated, which is as good as rounded here."""
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def write_pair(folder: Path, gigabytes: float) -> tuple[Path, Path]:
    """Two folders with one safetensors file each, written as they are made, so that little memory is taken."""
    random = np.random.default_rng(0)
    names, offset, header = shapes(gigabytes), 0, {}
    for name, shape in names.items():
        nbytes = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + nbytes]}
        offset += nbytes
    head = json.dumps(header).encode()
    places = folder / "a", folder / "b"
    for place in places:
        place.mkdir()
        (place / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": (len(names) - 3) // len(LAYER)}))
    files = [(place / "model.safetensors").open("wb") for place in places]
    for file in files:
        file.write(len(head).to_bytes(8, "little") + head)
    for shape in names.values():
        values = random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
        if len(shape) == 1:
            values += 1
        files[0].write(bfloat16(values))
        noise = random.standard_normal(shape, dtype=np.float32) * np.float32(0.001)
        files[1].write(bfloat16(values + noise))
    for file in files:
        file.close()
    return places


def forget(places: tuple[Path, Path]) -> None:
    """Drop both files from the page cache."""
    for place in places:
        descriptor = os.open(place / "model.safetensors", os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def timed(command: list[str]) -> tuple[float, float, str]:
    """Seconds on the clock and of processors, and what was printed."""
    start, before = time.perf_counter(), os.times()
    output = subprocess.DEVNULL if command[0] == "cat" else subprocess.PIPE
    done = subprocess.run(command, check=True, stdout=output, text=True)
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, busy, done.stdout or ""


def main() -> None:
    """Write, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--gigabytes", type=float, default=3.0, help="size of each of the two files")
    arguments.add_argument("--folder", type=Path, help="where there is room for both (default: the temporary folder)")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        places = write_pair(Path(folder), given.gigabytes)
        files = [str(place / "model.safetensors") for place in places]
        size = sum(Path(file).stat().st_size for file in files) / 1e9
        compare = [sys.executable, "-c", COMPARE, *map(str, places)]
        load = os.getloadavg()[0]
        print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}; both files {size:.2f} GB")
        timed(compare)  # compiles, once
        for state in ("from disk", "in memory"):
            rows = []
            for command in (["cat", *files], compare):
                if state == "from disk":
                    forget(places)
                rows.append(timed(command))
            (cat, _, _), (took, busy, said) = rows
            print(f"{state}: cat {cat:.1f} s ({size / cat:.2f} GB/s), compare {took:.1f} s, ratio {took / cat:.2f}")
            print(f"  of processors {busy:.1f} s; {said.strip()}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
