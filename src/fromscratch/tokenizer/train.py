"""Training the tokenizer: a byte-level BPE over a sample of the train documents."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, write_json
from fromscratch.core.progress import Advance, progress, say
from fromscratch.core.settings import did_you_mean
from fromscratch.core.workplace import Workplace
from fromscratch.tokenizer.load import FILE_NAME, load_tokenizer
from fromscratch.tokenizer.measure import measure
from fromscratch.tokenizer.sample import sample_documents, sample_rates, train_bytes
from fromscratch.tokenizer.settings import TokenizerSettings
from fromscratch.tokenizer.special import SPECIAL_TOKENS
from fromscratch.tokenizer.split import bounded_parts, split_pattern

__all__ = ["train_bpe", "train_tokenizer"]


def train_tokenizer(
    draft: Draft, inputs: Mapping[str, Artifact], workplace: Workplace, *, seed: int, tokenizer: TokenizerSettings
) -> Mapping[str, Any]:
    """The stage: writes ``tokenizer.json`` and ``measure.json``. Reads the train documents and measures the held out.

    Raises FromScratchError when no document is left to learn from, and for a weight of a language that is not there.
    """
    corpus = inputs["corpus"].path
    begun = time.monotonic()
    available = train_bytes(corpus)
    for language in tokenizer.language_weights:
        if available and language not in available:
            raise FromScratchError(
                f"`tokenizer.language_weights.{language}`: {corpus} has no train document in that language",
                did_you_mean(language, list(available)),
            )
    rates = sample_rates(available, tokenizer.language_weights, tokenizer.sample_bytes)
    tally: dict[str, dict[str, int]] = {}
    with progress("tokenizer", total=None) as advance:
        texts = _tallied(sample_documents(corpus, rates, seed), tally, advance)
        # Within a thread, so that Ctrl-C ends the wait at once and not when the Rust code returns.
        trained = _in_background(lambda: train_bpe(texts, tokenizer, workplace.machine.worker_count))
    if not tally:
        raise FromScratchError(
            f"{corpus}: no train document to learn pieces from",
            "look at what the corpus dropped, and at `tokenizer.language_weights`",
        )
    with atomic_write(draft.folder / FILE_NAME) as temporary:
        temporary.write_text(trained.to_str(pretty=True) + "\n", encoding="utf-8")
    seconds = time.monotonic() - begun
    return _measured(draft.folder, corpus, tokenizer.pieces, dict(sorted(tally.items())), seconds)


def train_bpe(texts: Iterable[str], settings: TokenizerSettings, threads: int = 1) -> tokenizers.Tokenizer:
    """A byte-level BPE (Sennrich et al. 2016) of at most ``settings.pieces`` pieces; equal for any number of threads.

    As in Yi: nothing is normalised, so full-width marks stay; no space is put in front; nothing is added around.
    """
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(split_pattern(settings.digits)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.pieces,
        min_frequency=settings.minimum_frequency,
        special_tokens=[tokenizers.AddedToken(each, special=True, normalized=False) for each in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=settings.longest_piece_bytes + 1,  # the crate stops one short of it
        show_progress=False,
    )
    # The crate reads its threads from the environment. Parallel only here: elsewhere it would warn at every fork.
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    try:
        bpe.train_from_iterator(texts, trainer)
    finally:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return bpe


def _tallied(documents: Iterable[tuple[str, str]], tally: dict[str, dict[str, int]], advance: Advance) -> Iterator[str]:
    for language, text in documents:
        row = tally.setdefault(language, {"documents": 0, "bytes": 0})
        row["documents"] += 1
        row["bytes"] += len(text.encode())
        advance(0, note=f"{sum(each['bytes'] for each in tally.values()) / 1e6:.1f} MB read")
        yield from bounded_parts(text)
    advance(0, note="learning the pieces")


def _measured(
    folder: Path, corpus: Path, asked_pieces: int, sample: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    loaded = load_tokenizer(folder)
    if loaded.vocabulary < asked_pieces:
        say(f"the sample gave {loaded.vocabulary:,} pieces; `tokenizer.pieces` asks for {asked_pieces:,}")
    measured = measure(loaded, corpus)
    write_json(folder / "measure.json", {**measured, "sample": sample})
    bytes_per_token = {name: row["bytes_per_token"] for name, row in measured["by_language"].items()}
    shown = ", ".join(f"{name} {value:.2f}" for name, value in bytes_per_token.items())
    return {
        "pieces": loaded.vocabulary,
        "training_seconds": round(seconds, 1),
        "bytes_per_token": bytes_per_token,
        "summary": f"{loaded.vocabulary:,} pieces" + (f"; bytes per token: {shown}" if shown else ""),
    }


T = TypeVar("T")


def _in_background(work: Callable[[], T]) -> T:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result()
