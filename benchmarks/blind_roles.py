"""How many tensors of a known model get their roles and their layers back when their names are taken away.

    PYTHONPATH=src python benchmarks/blind_roles.py MODEL [MODEL …] [--shuffles 3]

MODEL is what `inspect` opens, with names that are known. Its tensors are put in random order under names that say
nothing, its config is left out, and what is found is held against the names. Layers count as right only with the role.
"""

import argparse
import time
from collections import Counter
from dataclasses import replace

import numpy as np

from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.roles import Role
from fromscratch.anatomy.tensors import Checkpoint


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("models", nargs="+", metavar="MODEL")
    options.add_argument("--shuffles", type=int, default=3, metavar="N")
    chosen = options.parse_args()
    for place in chosen.models:
        checkpoint = open_checkpoint(place)
        for seed in range(chosen.shuffles):
            print(f"{place.rsplit('/', 1)[-1]}, shuffle {seed}: {_hits(checkpoint, seed)}", flush=True)


def _hits(checkpoint: Checkpoint, seed: int) -> str:
    known = find_structure(checkpoint)
    names = list(checkpoint.tensors)
    order = np.random.default_rng(seed).permutation(len(names))
    truth = {f"t{index}": names[each] for index, each in enumerate(order)}
    tensors = {
        opaque: replace(checkpoint.tensors[name], name=opaque, offset=index)
        for index, (opaque, name) in enumerate(truth.items())
    }
    began = time.monotonic()
    found = find_structure(Checkpoint("shuffled", checkpoint.format, tensors, {}), blind=True)
    seconds = time.monotonic() - began
    counts = Counter[str]()
    for name, part in found.parts.items():
        true = known.parts[truth[name]]
        if part.role == Role.UNKNOWN:
            counts["vectors untold" if len(part.shape) < 2 else "matrices untold"] += 1
        else:
            counts["roles right" if part.role == true.role else "roles wrong"] += 1
            if part.layer is not None:
                counts["layers right" if part.layer == true.layer else "layers wrong"] += 1
    same_heads = (found.query_heads, found.kv_heads) == (known.query_heads, known.kv_heads)
    heads = "untold" if found.query_heads is None else "right" if same_heads else "wrong"
    layout = (
        "untold" if found.rotary_layout is None else "right" if found.rotary_layout == known.rotary_layout else "wrong"
    )
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    return f"{told}; heads {heads}, rotary pairs {layout}; {seconds:.1f} s"


if __name__ == "__main__":
    main()
