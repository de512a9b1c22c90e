"""A small run to score: shards of two languages and code, a tokenizer, a base and a tuned model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from fromscratch.core.artifact import Artifact
from fromscratch.core.files import write_json
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import save_model
from fromscratch.model.settings import DecoderSettings
from fromscratch.tokenizer.chatml import encode_plain
from fromscratch.tokenizer.special import END_OF_TEXT, SPECIAL_TOKENS
from fromscratch.tokens.settings import BatchForm
from fromscratch.tokens.shards import describe_shard, write_shard

TEXTS = {
    "en/books": [f"The whale number {n} swam past the ship, and {n % 7} sailors saw it." for n in range(60)],
    "en/technical": [f"Call `open_{n}()` before `close_{n}()`; it returns {n * n}." for n in range(40)],
    "zh/books": [f"第{n}回说刘备与关羽、张飞在桃园结义，共有{n % 5}人。" for n in range(50)],
}
SETTINGS = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=64)


@dataclass(frozen=True)
class Pretraining:
    steps: int = 30
    batch_forms: tuple[BatchForm, ...] = (BatchForm(30, 4, 16, None),)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text for texts in TEXTS.values() for text in texts], trainer)
    return tokenizer


def random_decoder(vocabulary: int, seed: int) -> Decoder:
    decoder = Decoder(SETTINGS, vocabulary)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return decoder


def write_tokens(folder: Path, tokenizer: Tokenizer, texts: Mapping[str, list[str]]) -> None:
    """Token shards as the tokens stage packs them, every fifth document held out."""
    groups: dict[str, dict[str, object]] = {}
    for group, documents in texts.items():
        groups[group] = {}
        for split in ("train", "heldout"):
            chosen = [at for at in range(len(documents)) if (at % 5 == 0) == (split == "heldout")]
            name = f"{split}/{group.replace('/', '--')}-00000.tokens"
            (folder / split).mkdir(parents=True, exist_ok=True)
            tokens = [np.array([*encode_plain(tokenizer, documents[at]), END_OF_TEXT], "<u2") for at in chosen]
            write_shard(
                folder / name,
                tokens,
                [len(documents[at].encode()) for at in chosen],
                [f"{group}-{at:03}" for at in chosen],
            )
            shard = describe_shard(folder, name, np.dtype("<u2"))
            groups[group][split] = {"shards": [shard], **{key: shard[key] for key in ("tokens", "documents", "bytes")}}
    write_json(
        folder / "index.json",
        {"vocabulary": tokenizer.get_vocab_size(), "end_of_document": END_OF_TEXT, "groups": groups},
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """The folder of a run up to `tune`; read only."""
    run = tmp_path_factory.mktemp("run")
    write_tokens(run / "tokens", tokenizer, TEXTS)
    (run / "tokenizer").mkdir()
    tokenizer.save(str(run / "tokenizer" / "tokenizer.json"))
    for seed, stage in enumerate(("pretrain", "tune")):
        save_model(run / stage, random_decoder(tokenizer.get_vocab_size(), seed))
    return run


@pytest.fixture
def inputs(run: Path) -> dict[str, Artifact]:
    seen = 30 * 4 * 16
    facts = {"pretrain": {"tokens": seen}}
    return {
        name: Artifact(run / name, {"facts": facts.get(name, {})})
        for name in ("tokens", "tokenizer", "pretrain", "tune")
    }
