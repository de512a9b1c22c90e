"""Verdicts on models of the zoo beside modelDNA's, and p-values of a thousand pairs that have nothing in common.

    PYTHONPATH=. python benchmarks/anatomy.py [--models 46] [--peer-python PYTHON] [--without-peer]

Null pairs: so many models, each with a seed of its own, trained on either text by AdamW or Muon from standard, muP or
zero initial weights; every pair is compared, and p-values are held against the uniform distribution: for a calibrated
test no more than a share α of them is at most α. Models are kept in the cache folder of the user, as is the
environment of modelDNA 0.1.0, which is made there unless --peer-python names one.

Side by side: what the ground-truth suite makes of a small trained model, written as folders with config and
safetensors and read by both; quantised forms are stored as what they decode to. modelDNA answers from samples meant for
models of billions of parameters, so read the columns as what each says, not as a contest of sizes. It is right on a
relation where it says one of its classes of lineage, and on a kind where that class is the nearest to the truth.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from fromscratch.anatomy.compare import compare, print_of
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.fingerprint import Fingerprint
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.tensors import checkpoint_of_arrays
from fromscratch.optim.settings import AdamW, Muon
from tests.anatomy.trained import MODELS, Training, train
from tests.anatomy.zoo import DERIVED, Zoo, make_zoo

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fromscratch"
OPTIMISERS = (AdamW(peak_learning_rate=1e-2), AdamW(peak_learning_rate=5e-3), Muon(peak_learning_rate=2e-2))
STARTS = ("standard", "mup", "zero")
LEVELS = (0.5, 0.2, 0.1, 0.05, 0.01, 0.001, 1e-6)
NULLS = {"other_seed": "independent", "muon": "independent", "mup": "independent", "zero": "independent"}
NULLS |= {"narrow": "independent", "student": "independent", "same_seed": "shared initialisation only"}
PARENTS = {"linear_merge": ("tuned", "tuned_on_poems"), "spherical_merge": ("tuned", "further")}
LINEAGE = {"EXACT_COPY", "QUANTIZED_COPY", "FINE_TUNE", "SAME_LINEAGE", "LIKELY_MERGE"}
NEAREST = {
    "identical up to a transform": {"EXACT_COPY", "QUANTIZED_COPY"},
    "quantised": {"QUANTIZED_COPY"},
    "fine-tuned": {"FINE_TUNE"},
    "low-rank update": {"FINE_TUNE"},
    "further pretrained": {"SAME_LINEAGE"},
    "merged": {"LIKELY_MERGE"},
    "layers reused": {"SAME_LINEAGE"},
    "pruned": {"SAME_LINEAGE"},
    "independent": {"NO_MATCH"},
    "shared initialisation only": {"NO_MATCH", "SAME_FAMILY_UNRESOLVED"},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=int, default=46, help="models whose pairs are the null")
    options.add_argument("--peer-python", type=Path, metavar="PYTHON", help="one that has modelDNA")
    options.add_argument("--without-peer", action="store_true")
    asked = options.parse_args()
    print(
        f"numpy {np.__version__}, torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    )
    null_pairs(asked.models)
    side_by_side(None if asked.without_peer else asked.peer_python or peer_python())


# ---- A thousand pairs that have nothing in common


def null_pairs(count: int) -> None:
    prints = [null_print(number) for number in range(count)]
    by_test: dict[str, list[float]] = {}
    verdicts: dict[str, int] = {}
    began = time.monotonic()
    for a, b in combinations(prints, 2):
        verdict = compare_weights(a, b)
        verdicts[str(verdict.relation)] = verdicts.get(str(verdict.relation), 0) + 1
        for test in verdict.tests:
            by_test.setdefault(test.name, []).append(test.log10_p)
    pairs = count * (count - 1) // 2
    each_ms = 1000 * (time.monotonic() - began) / pairs
    print(f"\nnull: {pairs} pairs of {count} models, {each_ms:.0f} ms each; verdicts: {verdicts}")
    print(f"  {'share of p-values at most α':36}" + "".join(f"{level:>9g}" for level in LEVELS) + "   least p")
    for name, log10_ps in by_test.items():
        values = 10.0 ** np.array(log10_ps)
        shares = "".join(f"{(values <= level).mean():9.4f}" for level in LEVELS)
        print(f"  {name:36}{shares}   {values.min():.1e}")
        excess = max((values <= level).mean() - level for level in np.unique(values) if level < 1)
        # Pairs share models, so the bound for independent draws is strict here (Dvoretzky, Kiefer and Wolfowitz).
        band = np.sqrt(np.log(1 / 0.01) / (2 * len(values)))
        told = "super-uniform" if excess <= band else "NOT super-uniform"
        print(f"  {'':36}greatest excess over α {excess:+.4f}, bound {band:.4f}: {told}")


def null_print(number: int) -> Fingerprint:
    how = Training(
        seed=1000 + number,
        data=("play", "poems")[number % 2],
        batches=number,
        optimizer=OPTIMISERS[number % 3],
        start=STARTS[number // 3 % 3],
    )
    path = CACHE / "anatomy-null" / f"{number}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: torch.from_numpy(each) for name, each in train(how, {}).items()}, path)
    checkpoint = checkpoint_of_arrays(load_file(path))
    return print_of(checkpoint, find_structure(checkpoint))


# ---- Beside modelDNA


def side_by_side(python: Path | None) -> None:
    zoo = make_zoo_folder()
    print(f"\n{'pair':26} {'truth':28} {'ours':28} {'':4} {'blind':28} {'':4} {'modelDNA':24} related kind")
    sums = dict.fromkeys(("ours", "blind", "abstains", "related", "kind"), 0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pairs = write_pairs(zoo, folder)
        listed = {name: [str(child), str(parent)] for name, (parent, child, _) in pairs.items()}
        merges = {
            name: [str(folder / f"derived_{name}"), *(str(folder / each) for each in PARENTS[name])] for name in PARENTS
        }
        theirs = peer_answers(python, listed | {f"shares {name}": each for name, each in merges.items()}, folder)
        for name, (parent, child, truth) in pairs.items():
            ours = [str(compare(parent, child, blind=blind).weights.relation) for blind in (False, True)]
            right = [each == truth for each in ours]
            peer = theirs.get(name, "")
            related, kind = (peer in LINEAGE) == (truth not in NULLS.values()), peer in NEAREST[truth]
            for key, held in zip(sums, (*right, ours[1] == "undecided", related, kind), strict=True):
                sums[key] += held
            marks = ["yes" if each else "NO" for each in (*right, related, kind)]
            marks[1] = "?" if ours[1] == "undecided" else marks[1]
            columns = f"{name:26} {truth:28} {ours[0]:28} {marks[0]:4} {ours[1]:28} {marks[1]:4}"
            print(f"{columns} {peer:24} {marks[2]:7} {marks[3]}")
        print(f"of {len(pairs)}: ours {sums['ours']}, blind {sums['blind']} and {sums['abstains']} undecided; ", end="")
        print(f"modelDNA {sums['related']} related or not, {sums['kind']} of the nearest kind")
        print("\nmerges, asked with both parents and, on the line below, with a parent and a stranger")
        for name, (child, *parents) in merges.items():
            for asked in (parents, [parents[0], str(folder / "other_seed")]):
                print(f"  {name:18} truth {zoo.derived(name).shares}; ours {our_shares(child, asked)}", end="")
                print(f"; modelDNA {theirs[f'shares {name}']}" if asked is parents else "")


def our_shares(child: str, parents: Sequence[str]) -> str:
    first, *others = [printed(each) for each in parents]
    verdict = compare_weights(first, printed(child), others=others)
    return f"{verdict.relation} " + " ".join(f"{share.weight:.3f}" for share in verdict.parents)


def printed(place: str) -> Fingerprint:
    checkpoint = open_checkpoint(place)
    return print_of(checkpoint, find_structure(checkpoint))


def make_zoo_folder() -> Zoo:
    folder = CACHE / "anatomy-zoo"
    folder.mkdir(parents=True, exist_ok=True)
    return make_zoo(folder)


def write_pairs(zoo: Zoo, folder: Path) -> dict[str, tuple[Path, Path, str]]:
    """(parent, child, truth) by name; of a merge, its first parent is given."""
    for name in MODELS:
        checkpoint = zoo.checkpoint(name)
        write(folder / name, zoo.models[name], checkpoint.config, {})
    pairs = {}
    for name in DERIVED:
        derived = zoo.derived(name)
        child = folder / f"derived_{name}"
        config = derived.config or zoo.checkpoint("base").config
        write(child, derived.arrays, config, derived.kinds)
        pairs[name] = (folder / derived.parents[0], child, derived.weights)
    return pairs | {name: (folder / "base", folder / name, truth) for name, truth in NULLS.items()}


def write(folder: Path, arrays: Any, config: Any, kinds: Any) -> None:
    folder.mkdir()
    forms = {"BF16": torch.bfloat16, "F16": torch.float16}
    tensors = {
        name: torch.from_numpy(np.array(each, order="C")) for name, each in arrays.items()
    }  # copies: layers may stand twice
    tensors = {
        name: each.to(forms[kinds[name]]) if kinds.get(name) in forms else each for name, each in tensors.items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")


def peer_answers(python: Path | None, asked: Mapping[str, Sequence[str]], folder: Path) -> dict[str, str]:
    """What modelDNA says of each list of a suspect and its candidates, by name."""
    if python is None:
        return dict.fromkeys(asked, "")
    (folder / "pairs.json").write_text(json.dumps(asked), encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [str(python), str(HERE / "peers" / "modeldna_side.py"), str(folder / "pairs.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    answers: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return answers


def peer_python() -> Path:
    """The environment with modelDNA, made on first use."""
    folder = CACHE / "modeldna"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "modeldna==0.1.0"], check=True)
        (folder / "ready").touch()
    return python


if __name__ == "__main__":
    main()
