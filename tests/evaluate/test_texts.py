"""Any folder with a model is scored on any text, and what cannot be scored is said in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer

from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Machine
from fromscratch.evaluate.perplexity import document_bits
from fromscratch.evaluate.settings import Scoring
from fromscratch.evaluate.texts import evaluate_texts
from fromscratch.model.files import load_model
from fromscratch.model.llama_names import llama_config, to_llama_name
from fromscratch.tokenizer.chatml import encode_plain

MACHINE = Machine(threads=1, device="cpu")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    texts = {"en.txt": "The whale swam past the ship. " * 12, "zh.txt": "刘备与关羽。<|im_end|>\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return [tmp_path / name for name in texts]


def test_a_file_is_one_document_with_its_end(run: Path, files: list[Path], tokenizer: Tokenizer) -> None:
    found = evaluate_texts(run / "pretrain", files, machine=MACHINE)
    texts = [file.read_text(encoding="utf-8") for file in files]
    documents = [np.array([*encode_plain(tokenizer, text), 2]) for text in texts]
    bits = document_bits(load_model(run / "pretrain"), documents, 2, Scoring())
    for file, text, document, cost in zip(files, texts, documents, bits, strict=True):
        row = found["files"][str(file)]
        assert (row["bytes"], row["tokens"]) == (len(text.encode()), len(document))
        assert row["bits_per_byte"] == pytest.approx(cost / len(text.encode()), abs=1e-5)
    total = sum(len(text.encode()) for text in texts)
    assert found["total"]["bytes"] == total
    assert found["total"]["bits_per_byte"] == pytest.approx(bits.sum() / total, abs=1e-5)


def test_a_llama_folder_scores_like_ours(run: Path, files: list[Path], tmp_path: Path) -> None:
    decoder = load_model(run / "tune")
    folder = tmp_path / "llama"
    folder.mkdir()
    config = llama_config(decoder.settings, decoder.vocabulary, beginning_id=1, end_ids=[2], padding_id=0)
    (folder / "config.json").write_text(json.dumps(config))
    weights = {to_llama_name(name): each.detach().contiguous() for name, each in decoder.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(run / "tokenizer" / "tokenizer.json", folder)
    ours, theirs = (evaluate_texts(each, files, machine=MACHINE) for each in (run / "tune", folder))
    assert theirs["files"] == ours["files"] and theirs["model"] == str(folder)


def test_of_a_run_the_furthest_model_is_taken(run: Path, files: list[Path]) -> None:
    assert evaluate_texts(run, files, machine=MACHINE)["model"] == str(run / "tune")


def test_a_tokenizer_may_be_named(run: Path, files: list[Path], tmp_path: Path) -> None:
    shutil.copytree(run / "pretrain", tmp_path / "alone")
    with pytest.raises(FromScratchError, match=r"alone/tokenizer.json: no such tokenizer"):
        evaluate_texts(tmp_path / "alone", files, machine=MACHINE)
    found = evaluate_texts(tmp_path / "alone", files, tokenizer=run / "tokenizer" / "tokenizer.json", machine=MACHINE)
    assert found["files"] == evaluate_texts(run / "pretrain", files, machine=MACHINE)["files"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "no such file"), (b"", "an empty file has no bits per byte"), (b"ab\xff", "not UTF-8 at byte 2")],
)
def test_a_file_that_is_no_text_is_refused(run: Path, tmp_path: Path, content: bytes | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(FromScratchError, match=rf"x\.txt: {complaint}"):
        evaluate_texts(run / "pretrain", [tmp_path / "x.txt"], machine=MACHINE)


def test_a_folder_is_no_text_and_an_empty_one_no_model(run: Path, files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match="a folder, not a text file"):
        evaluate_texts(run / "pretrain", [tmp_path], machine=MACHINE)
    with pytest.raises(FromScratchError, match=r"no model in it, neither model\.json nor config\.json"):
        evaluate_texts(tmp_path, files, machine=MACHINE)


def test_a_tokenizer_that_does_not_belong_to_the_model_is_refused(
    run: Path, files: list[Path], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    other = Tokenizer.from_str(tokenizer.to_str())
    other.add_tokens(["刘备与"])
    other.save(str(tmp_path / "other.json"))
    with pytest.raises(FromScratchError, match="the tokenizer has 401 tokens and the model 400"):
        evaluate_texts(run / "pretrain", files, tokenizer=tmp_path / "other.json", machine=MACHINE)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(FromScratchError, match=r"other\.json: not a tokenizer"):
        evaluate_texts(run / "pretrain", files, tokenizer=tmp_path / "other.json", machine=MACHINE)
