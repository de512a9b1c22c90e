"""A tiny tokenizer and model for the tests of chat."""

import pytest
from tokenizers import Tokenizer

from fromscratch.tokenizer.settings import TokenizerSettings
from fromscratch.tokenizer.train import train_bpe

TEXTS = [
    "user assistant What is a whale? A whale is a mammal. Hello! Thank you.",
    "鲸是什么？鲸是哺乳动物。你好！谢谢。",
]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    trained = train_bpe(TEXTS * 5, TokenizerSettings(pieces=340, minimum_frequency=2))
    trained.encode_special_tokens = True  # as load_tokenizer leaves it
    return trained
