"""Bits per byte of any model folder, ours or of the Llama layout, on any text files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from fromscratch.core.errors import FromScratchError
from fromscratch.core.progress import progress
from fromscratch.core.workplace import Machine
from fromscratch.evaluate.perplexity import document_bits
from fromscratch.evaluate.settings import Scoring
from fromscratch.model.device import choose_device
from fromscratch.model.files import load_model
from fromscratch.model.transformers_folder import read_transformers_folder
from fromscratch.tokenizer.chatml import encode_plain

__all__ = ["evaluate_texts"]

ENDS_OF_DOCUMENT = ("<|endoftext|>", "</s>", "<|end_of_text|>")  # ours, Llama 1 and 2, Llama 3


def evaluate_texts(
    model: Path,
    files: Sequence[Path],
    *,
    tokenizer: Path | None = None,
    scoring: Scoring | None = None,
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Score each file as one document with its end: ``{"files": {name: sizes and bits per byte}, "total": {…}}``.

    ``model`` is a folder of ours (model.json), one of the Llama layout (config.json), or a run, whose release is
    taken, or else its tuned or its pretrained model. ``tokenizer`` is a tokenizer.json, by default the one beside the
    weights or in the same run. Raises FromScratchError for a folder without a model, a tokenizer that does not belong
    to it, and files that are missing, empty or not UTF-8.
    """
    machine = machine or Machine()
    torch.set_num_threads(machine.thread_count)
    texts = [_read(file) for file in files]
    folder = _model_folder(model)
    encoder, end = _tokenizer(folder, tokenizer)
    decoder = (load_model if (folder / "model.json").is_file() else read_transformers_folder)(
        folder, choose_device(machine)
    )
    if encoder.get_vocab_size() > decoder.vocabulary:
        raise FromScratchError(
            f"{folder}: the tokenizer has {encoder.get_vocab_size():,} tokens and the model {decoder.vocabulary:,}",
            "give the tokenizer that the model was trained with",
        )
    documents = [np.array([*encode_plain(encoder, text), end]) for text in texts]
    with progress("score", sum(map(len, documents))) as advance:
        bits = document_bits(decoder, documents, end, scoring or Scoring(), advance)
    sizes = [(len(text.encode()), len(document)) for text, document in zip(texts, documents, strict=True)]
    scored = {str(file): _row(*size, float(cost)) for file, size, cost in zip(files, sizes, bits, strict=True)}
    total = _row(sum(size for size, _ in sizes), sum(tokens for _, tokens in sizes), float(bits.sum()))
    return {"model": str(folder), "files": scored, "total": total}


def _row(size_bytes: int, tokens: int, bits: float) -> dict[str, Any]:
    return {
        "bytes": size_bytes,
        "tokens": tokens,
        "bytes_per_token": round(size_bytes / tokens, 3),
        "bits_per_byte": round(bits / size_bytes, 5),
    }


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FromScratchError(f"{file}: no such file", "name text files after --on") from None
    except IsADirectoryError:
        raise FromScratchError(f"{file}: a folder, not a text file", "name the files in it after --on") from None
    except UnicodeDecodeError as error:
        raise FromScratchError(f"{file}: not UTF-8 at byte {error.start}", "convert it to UTF-8 first") from None
    if not text:
        raise FromScratchError(f"{file}: an empty file has no bits per byte", "leave it out")
    return text


def _model_folder(model: Path) -> Path:
    for folder in (model, model / "release" / "model", model / "model", model / "tune", model / "pretrain"):
        if (folder / "model.json").is_file() or (folder / "config.json").is_file():
            return folder
    raise FromScratchError(
        f"{model}: no model in it, neither model.json nor config.json",
        "name a released model folder, or a run that has trained one",
    )


def _tokenizer(folder: Path, asked: Path | None) -> tuple[Tokenizer, int]:
    """The tokenizer and the id that ends a document."""
    beside = (folder / "tokenizer.json", folder.parent / "tokenizer" / "tokenizer.json")
    for file in (asked,) if asked else beside:
        if file.is_file():
            break
    else:
        raise FromScratchError(f"{asked or beside[0]}: no such tokenizer", "give a tokenizer.json")
    try:
        encoder = Tokenizer.from_file(str(file))
    except Exception as error:  # the parser raises bare Exception
        raise FromScratchError(f"{file}: not a tokenizer.json ({error})", "restore it from where it came") from None
    for name in ENDS_OF_DOCUMENT:
        if (end := encoder.token_to_id(name)) is not None:
            return encoder, int(end)
    raise FromScratchError(
        f"{file}: none of {', '.join(ENDS_OF_DOCUMENT)} is a token of it", "one has to end a document"
    )
