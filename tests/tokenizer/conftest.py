"""A small tokenizer, trained by the stage itself on English, Chinese and code."""

import argparse
import inspect
from pathlib import Path
from typing import Any

import pytest

from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.tokenizer.load import Tokenizer, load_tokenizer
from fromscratch.tokenizer.settings import TokenizerSettings
from fromscratch.tokenizer.train import train_tokenizer
from tests.make_corpus import make_corpus

ENGLISH = "The whale surfaced near the ship, and the sailors shouted that the whale was 12 metres long.\n"
CHINESE = "鲸鱼浮出水面，水手们用whale一词呼喊。鲸鱼长12米，非常巨大！\n"
CODE = inspect.getsource(argparse)


def example_rows() -> list[dict[str, Any]]:
    """Documents by language, with some held out and one dropped."""
    rows: list[dict[str, Any]] = [{"text": ENGLISH * 4, "domain": "books"} for _ in range(40)]
    rows += [{"text": CHINESE * 4, "language": "zh", "domain": "books"} for _ in range(40)]
    code = {"language": "code", "domain": "code"}
    rows += [{"text": CODE[first : first + 2000], **code} for first in range(0, len(CODE), 2000)]
    rows += [
        {"text": ENGLISH, "domain": "books", "split": "heldout"},
        {"text": CHINESE, "language": "zh", "domain": "books", "split": "heldout"},
        {"text": CHINESE + "def main():\n", "language": "zh", "domain": "technical", "split": "heldout"},
        {"text": "zyzzyva " * 500, "reason": "too_repetitive"},
    ]
    return rows


def run_stage(folder: Path, corpus: Artifact, settings: TokenizerSettings, seed: int = 1, workers: int = 1) -> Artifact:
    """The tokenizer stage as a run does it, into ``folder``/tokenizer."""
    draft = begin_artifact(folder / "tokenizer", Origin("tokenizer", settings.model_dump(mode="json"), {}))
    with Ledger(folder / "ledger.jsonl") as ledger:
        workplace = Workplace(Machine(workers=workers), ledger)
        return draft.finish(train_tokenizer(draft, {"corpus": corpus}, workplace, seed=seed, tokenizer=settings))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", example_rows())


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, corpus: Artifact) -> Artifact:
    return run_stage(tmp_path_factory.mktemp("trained"), corpus, TokenizerSettings(pieces=900))


@pytest.fixture(scope="session")
def tokenizer(trained: Artifact) -> Tokenizer:
    return load_tokenizer(trained.path)
