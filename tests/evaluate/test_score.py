"""The stage writes the scores of every group and language, and a killed one ends with the same bytes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from fromscratch.core.artifact import Artifact, Draft, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.evaluate import score
from fromscratch.evaluate.material import drawn_documents
from fromscratch.evaluate.perplexity import document_bits
from fromscratch.evaluate.score import evaluate
from fromscratch.evaluate.settings import EvaluateSettings, Scoring
from fromscratch.model.files import load_model
from fromscratch.tokens.batches import BatchPlan
from fromscratch.tokens.heldout import heldout_documents

from .conftest import TEXTS, Pretraining, write_tokens

SETTINGS = EvaluateSettings(
    tokens_per_group=200, scoring=Scoring(batch_tokens=256), questions_per_language=3, answer_tokens=5
)


def scored(folder: Path, inputs: dict[str, Artifact], settings: EvaluateSettings = SETTINGS) -> tuple[Any, Draft]:
    draft = begin_artifact(folder / "evaluate", Origin("evaluate", {}, {}))
    with Ledger(folder / "ledger.jsonl") as ledger:
        workplace = Workplace(Machine(threads=1, device="cpu"), ledger)
        facts = evaluate(draft, inputs, workplace, seed=1, pretrain=Pretraining(), evaluate=settings)
    return facts, draft


def read(draft: Draft) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((draft.folder / "scores.json").read_text())
    return scores


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, run: Path) -> tuple[Any, Draft]:
    seen = {"facts": {"tokens": 30 * 4 * 16}}
    inputs = {name: Artifact(run / name, seen) for name in ("tokens", "tokenizer", "pretrain", "tune")}
    return scored(tmp_path_factory.mktemp("undisturbed"), inputs)


def test_every_group_and_language_has_every_score(undisturbed: tuple[Any, Draft]) -> None:
    facts, draft = undisturbed
    scores = read(draft)
    columns = {"model", "chat_model", "uniform", "unigram", "bigram", "bigram_own_group"}
    assert set(scores["bits_per_byte"]) == set(TEXTS) and set(scores["by_language"]) == {"en", "zh"}
    for found in (*scores["bits_per_byte"].values(), *scores["by_language"].values()):
        assert columns <= found.keys() and all(found[column] > 0 for column in columns)
        assert found["bigram_own_group"] < found["unigram"] < found["uniform"]
        assert found["ahead_of_bigram"] == pytest.approx(found["bigram"] - found["model"], abs=2e-5)
    assert scores["trained_tokens"] == 30 * 4 * 16
    assert [each.name for each in draft.folder.iterdir() if each.name != "begun.json"] == ["scores.json"]
    assert facts["by_language"] == scores["by_language"] and "zh " in facts["summary"]


def test_a_language_is_its_groups_added_up(undisturbed: tuple[Any, Draft]) -> None:
    scores = read(undisturbed[1])
    books, technical = (scores["bits_per_byte"][f"en/{domain}"] for domain in ("books", "technical"))
    for column in ("model", "bigram"):
        bits = books[column] * books["bytes"] + technical[column] * technical["bytes"]
        expected = bits / (books["bytes"] + technical["bytes"])
        assert scores["by_language"]["en"][column] == pytest.approx(expected, abs=1e-4)


def test_answers_and_samples_are_counted(undisturbed: tuple[Any, Draft]) -> None:
    scores = read(undisturbed[1])
    assert {language: each["asked"] for language, each in scores["language_of_answers"].items()} == {"en": 3, "zh": 3}
    assert [each["prompt"] for each in scores["samples"]] == list(SETTINGS.sample_prompts)
    assert all(set(each) == {"prompt", "answer", "language", "ended"} for each in scores["samples"])


def test_the_uniform_and_the_unigram_are_what_they_say(
    run: Path, inputs: dict[str, Artifact], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """From the batches and the held-out documents themselves, with nothing of the package in between."""
    _, draft = scored(tmp_path, inputs, SETTINGS.model_copy(update={"tokens_per_group": None}))
    found, vocabulary = read(draft)["bits_per_byte"]["zh/books"], tokenizer.get_vocab_size()
    documents = list(heldout_documents(run / "tokens", "zh/books"))
    tokens = np.concatenate([tokens for tokens, _, _ in documents])
    size_bytes = sum(size for _, size, _ in documents)
    assert (found["documents"], found["tokens"], found["bytes"]) == (len(documents), len(tokens), size_bytes)
    assert found["uniform"] == pytest.approx(len(tokens) * math.log2(vocabulary) / size_bytes, abs=1e-4)
    plan = BatchPlan(run / "tokens", None, 1, 16, 4)
    targets = np.concatenate([plan.batch(number)[:, 1:].ravel() for number in range(30)])
    counts = np.bincount(targets, minlength=vocabulary) + 0.5
    expected = -np.log2(counts / counts.sum())[tokens].sum() / size_bytes
    assert found["unigram"] == pytest.approx(expected, abs=1e-4)


def test_each_column_is_of_its_own_model(run: Path, undisturbed: tuple[Any, Draft]) -> None:
    documents = drawn_documents(run / "tokens", "zh/books", 200, seed=1)
    for column, stage in (("model", "pretrain"), ("chat_model", "tune")):
        bits = document_bits(load_model(run / stage), [tokens for tokens, _ in documents], 2, Scoring())
        expected = bits.sum() / sum(size_bytes for _, size_bytes in documents)
        assert read(undisturbed[1])["bits_per_byte"]["zh/books"][column] == pytest.approx(expected, abs=1e-4)


def test_a_killed_scoring_goes_on_and_ends_with_the_same_bytes(
    inputs: dict[str, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[Any, Draft],
) -> None:
    honest, calls = score.document_bits, []

    def killed_at_the_third(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(*arguments)

    monkeypatch.setattr(score, "document_bits", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path, inputs)
    _, draft = scored(tmp_path, inputs)
    assert draft.resumed
    assert len(calls) == 3 + 4  # the first of the three groups was not scored again
    monkeypatch.setattr(score, "_tallies", None)
    assert (draft.folder / "scores.json").read_bytes() == (undisturbed[1].folder / "scores.json").read_bytes()


def test_answers_given_before_a_kill_are_not_asked_for_again(
    inputs: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[Any, Draft]
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(score, "row", killed)
        scored(tmp_path, inputs)
    monkeypatch.setattr(score, "answers", None)
    monkeypatch.setattr(score, "document_bits", None)
    _, draft = scored(tmp_path, inputs)
    assert (draft.folder / "scores.json").read_bytes() == (undisturbed[1].folder / "scores.json").read_bytes()


def test_baselines_that_saw_other_tokens_than_the_model_are_a_broken_promise(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    inputs["pretrain"] = Artifact(inputs["pretrain"].path, {"facts": {"tokens": 5}})
    with pytest.raises(AssertionError, match=r"the model saw 5 tokens, the baselines 1,920"):
        scored(tmp_path, inputs)


def test_nothing_held_out_is_refused(inputs: dict[str, Artifact], tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_tokens(tmp_path / "tokens", tokenizer, TEXTS)
    index = json.loads((tmp_path / "tokens" / "index.json").read_text())
    for group in index["groups"].values():
        group["heldout"] = {"shards": [], "tokens": 0, "documents": 0, "bytes": 0}
    (tmp_path / "tokens" / "index.json").write_text(json.dumps(index))
    inputs["tokens"] = Artifact(tmp_path / "tokens", {})
    with pytest.raises(FromScratchError, match="no document is held out"):
        scored(tmp_path, inputs)
