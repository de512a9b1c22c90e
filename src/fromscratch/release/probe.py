"""What a released folder is asked, on real held-out text, and the process of its own in which it is asked."""

import heapq
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fromscratch.core.artifact import Artifact
from fromscratch.core.errors import FromScratchError, GateRefused
from fromscratch.corpus.documents import read_documents
from fromscratch.tokenizer.chatml import Message
from fromscratch.tokens.heldout import heldout_documents
from fromscratch.tokens.shards import read_index

__all__ = ["Findings", "Probe", "ask", "make_probe"]

READER = Path(__file__).with_name("reader.py")
POSITIONS = 64
GREEDY_TOKENS = 64
PROMPT_TOKENS = 32
PASSAGES = 8
DOCUMENTS = 1000
QUESTIONS = 8

# Nothing is fetched and nothing reports home; and the comparison is of the same arithmetic, that of the CPU.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
}

CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    ({"role": "user", "content": "What is a river?"},),
    ({"role": "user", "content": "“画蛇添足”是什么意思？"},),
    ({"role": "system", "content": "Answer in one sentence."}, {"role": "user", "content": "Who wrote Hamlet?"}),
    (
        {"role": "user", "content": "你好！"},
        {"role": "assistant", "content": "你好，有什么可以帮你？"},
        {"role": "user", "content": "讲一个1984年的故事。"},
    ),
    ({"role": "user", "content": "  spaces around,\n\nand lines within:\n    x = 10  \n"},),
    ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "?!"}),
)


@dataclass(frozen=True)
class Probe:
    """The request to the reader, and beside it the ids that our shards hold for its texts."""

    positions: int
    passages: list[list[int]]
    prompts: list[list[int]]
    greedy_tokens: int
    texts: list[str]
    conversations: list[Sequence[Message]]
    questions: list[Sequence[Message]]
    ids_of_texts: list[list[int]]

    def request(self) -> dict[str, Any]:
        """What the reader is told: everything but what it is to find out."""
        return {name: value for name, value in asdict(self).items() if name != "ids_of_texts"}


@dataclass(frozen=True)
class Findings:
    """What the reader found: plain values by name, and logits [passage, position, vocabulary]."""

    values: Mapping[str, Any]
    logits: npt.NDArray[np.float32]


def make_probe(inputs: Mapping[str, Artifact], context_tokens: int) -> Probe:
    """Held-out passages of each group as long as the context, 1,000 held-out documents, and the sample prompts.

    Raises FromScratchError when nothing was held out.
    """
    passages = _passages(inputs["tokens"].path, context_tokens)
    shortest = min(map(len, passages))
    prompt_tokens = min(PROMPT_TOKENS, max(1, context_tokens // 2), shortest)
    samples = json.loads(inputs["evaluate"].file("scores.json").read_text(encoding="utf-8"))["samples"]
    asked: list[Sequence[Message]] = [[{"role": "user", "content": each["prompt"]}] for each in samples]
    ids = _ids_of_documents(inputs["tokens"].path)
    texts = _texts(inputs["corpus"].path, set(ids))
    return Probe(
        positions=min(POSITIONS, shortest),
        passages=passages,
        prompts=[each[:prompt_tokens] for each in passages],
        greedy_tokens=min(GREEDY_TOKENS, context_tokens - prompt_tokens),
        texts=[texts[each] for each in sorted(ids)],
        conversations=list(CONVERSATIONS),
        questions=asked[:QUESTIONS] or list(CONVERSATIONS[:2]),
        ids_of_texts=[ids[each] for each in sorted(ids)],
    )


def ask(folder: Path, probe: Probe, threads: int, interpreter: str = sys.executable) -> Findings:
    """Run the reader on ``folder`` in a fresh process. Raises GateRefused with its last line when it fails."""
    with tempfile.TemporaryDirectory(prefix="fromscratch-") as temporary:
        request, result = Path(temporary) / "request.json", Path(temporary) / "result"
        request.write_text(json.dumps(probe.request(), ensure_ascii=False), encoding="utf-8")
        done = subprocess.run(
            # -P: the modules that lie beside the script must not shadow those that transformers imports.
            [interpreter, "-P", str(READER), str(folder), str(request), str(result)],
            env={**os.environ, **OFFLINE, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise GateRefused(
                f"{folder}: transformers cannot read the release: {lines[-1]}",
                f"`{Path(interpreter).name} -P {READER.name} …` fails so; tell us, with the versions that it uses",
            )
        values = json.loads(result.with_suffix(".json").read_text(encoding="utf-8"))
        return Findings(values, np.load(result.with_suffix(".npy")))


def _passages(tokens_folder: Path, context_tokens: int) -> list[list[int]]:
    """A full context of held-out text from each group, or as much as there is."""
    index = read_index(tokens_folder)
    groups = {name: each["heldout"]["tokens"] for name, each in index["groups"].items() if each["heldout"]["tokens"]}
    if not groups:
        raise FromScratchError(
            f"{tokens_folder}: no document is held out to check the release with",
            "hold out a larger share of the corpus",
        )
    long = [name for name, tokens in groups.items() if tokens >= min(POSITIONS, context_tokens)]
    if long:
        return [_first_tokens(tokens_folder, [name], context_tokens) for name in sorted(long)[:PASSAGES]]
    return [_first_tokens(tokens_folder, sorted(groups), context_tokens)]


def _first_tokens(tokens_folder: Path, groups: Sequence[str], most: int) -> list[int]:
    passage: list[int] = []
    for tokens, _, _ in _heldout(tokens_folder, groups):
        passage += tokens[: most - len(passage)].tolist()
        if len(passage) == most:
            break
    return passage


def _ids_of_documents(tokens_folder: Path) -> dict[str, list[int]]:
    """The ids of held-out documents by name, without the end of document: those with the least names, as names are
    hashes and so belong to no source more than to another."""
    groups = [name for name, each in read_index(tokens_folder)["groups"].items() if each["heldout"]["tokens"]]
    drawn = heapq.nsmallest(DOCUMENTS, _heldout(tokens_folder, groups), key=lambda each: each[2])
    return {name: tokens[:-1].tolist() for tokens, _, name in drawn}


def _heldout(tokens_folder: Path, groups: Sequence[str]) -> Iterator[tuple[npt.NDArray[Any], int, str]]:
    return chain.from_iterable(heldout_documents(tokens_folder, group) for group in groups)


def _texts(corpus_folder: Path, wanted: set[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for table in read_documents(corpus_folder, ["id", "text"], split="heldout"):
        for name, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
            if name in wanted:
                texts[name] = text
    return texts
