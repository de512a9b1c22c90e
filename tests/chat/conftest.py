"""A tiny tokenizer and a tiny run, made once for all tests of chat."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from fromscratch.tokenizer.settings import TokenizerSettings
from fromscratch.tokenizer.train import train_bpe
from tests.chat.tiny_run import make_inputs, tune_run

TEXTS = [
    "user assistant What is a whale? A whale is a mammal. Hello! Thank you.",
    "鲸是什么？鲸是哺乳动物。你好！谢谢。",
]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    trained = train_bpe(TEXTS * 5, TokenizerSettings(pieces=340, minimum_frequency=2))
    trained.encode_special_tokens = True  # as load_tokenizer leaves it
    return trained


@pytest.fixture(scope="session")
def tuned_run(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tiny"
    tune_run(run, make_inputs(run, tokenizer))
    return run
