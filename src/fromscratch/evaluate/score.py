"""The stage that scores: bits per byte by group beside the baselines, and what the tuned model answers."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import remove_tree, write_json
from fromscratch.core.progress import progress
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.evaluate.answers import answers, language_of, same_language
from fromscratch.evaluate.baselines import (
    Baseline,
    baseline_bits,
    count_pairs,
    kneser_ney_bigram,
    uniform,
    unigram,
)
from fromscratch.evaluate.material import Document, drawn_documents, group_pairs, trained_pairs
from fromscratch.evaluate.perplexity import document_bits
from fromscratch.evaluate.questions import QUESTIONS
from fromscratch.evaluate.settings import EvaluateSettings, Scoring
from fromscratch.evaluate.tally import Tally, row
from fromscratch.model.decoder import Decoder
from fromscratch.model.device import choose_device
from fromscratch.model.files import load_model
from fromscratch.tokenizer.special import END_OF_TEXT
from fromscratch.tokens.batches import RunPlan
from fromscratch.tokens.settings import BatchForm
from fromscratch.tokens.shards import read_index

__all__ = ["SCORES", "Pretraining", "evaluate"]

SCORES = "scores.json"
MODELS = {"model": "pretrain", "chat_model": "tune"}  # column → stage
PARTS = "parts"  # finished parts of the result, there only until all of them are


class Pretraining(Protocol):
    """What of the settings of pretraining says which tokens the model has seen."""

    @property
    def steps(self) -> int: ...
    @property
    def batch_forms(self) -> tuple[BatchForm, ...]: ...


def evaluate(
    draft: Draft,
    inputs: Mapping[str, Artifact],
    workplace: Workplace,
    *,
    seed: int,
    pretrain: Pretraining,
    evaluate: EvaluateSettings,
) -> Mapping[str, Any]:
    """Score the pretrained and the tuned model and write scores.json; a killed call goes on where it was.

    Returns the scores by language as facts. Raises FromScratchError when no document was held out.
    """
    torch.set_num_threads(workplace.machine.thread_count)
    parts = draft.folder / PARTS
    parts.mkdir(exist_ok=True)
    started = time.monotonic()
    tallies = _tallies(parts, inputs, seed, pretrain, evaluate, workplace.machine)
    scored = time.monotonic()
    said = _answers(parts, inputs, evaluate, workplace.machine)
    by_language: dict[str, list[Tally]] = {}
    for group, tally in tallies.items():
        by_language.setdefault(group.partition("/")[0], []).append(tally)
    scores = {
        "bits_per_byte": {group: row(tally) for group, tally in tallies.items()},
        "by_language": {language: row(Tally.join(found)) for language, found in sorted(by_language.items())},
        "trained_tokens": sum(each.batches * each.sequences * each.sequence_tokens for each in pretrain.batch_forms),
        **said,
    }
    write_json(draft.folder / SCORES, scores)
    remove_tree(parts)
    workplace.ledger.append("evaluated", by_language=scores["by_language"], answers=scores["language_of_answers"])
    return {
        "summary": _summary(scores),
        "by_language": scores["by_language"],
        "language_of_answers": scores["language_of_answers"],
        "seconds": {"scoring": round(scored - started, 1), "answers": round(time.monotonic() - scored, 1)},
    }


def _tallies(
    parts: Path,
    inputs: Mapping[str, Artifact],
    seed: int,
    pretrain: Pretraining,
    settings: EvaluateSettings,
    machine: Machine,
) -> dict[str, Tally]:
    """The bits of every drawn document by group; groups that an earlier call finished are read from ``parts``."""
    folder = inputs["tokens"].path
    index = read_index(folder)
    groups = sorted(group for group, split in index["groups"].items() if split["heldout"]["documents"])
    if not groups:
        raise FromScratchError(f"{folder}: no document is held out to score", "hold out a larger share of the corpus")
    files = {group: parts / f"{group.replace('/', '--')}.json" for group in groups}
    drawn = {
        group: drawn_documents(folder, group, settings.tokens_per_group, seed)
        for group in groups
        if not files[group].exists()
    }
    if drawn:
        baselines = _baselines(inputs, seed, pretrain, index)
        models = {name: load_model(inputs[stage].path, choose_device(machine)) for name, stage in MODELS.items()}
        tokens = sum(len(each) for documents in drawn.values() for each, _ in documents)
        with progress("score", len(models) * tokens) as advance:
            for group, documents in drawn.items():
                own = kneser_ney_bigram(count_pairs(group_pairs(folder, group), index["vocabulary"]))
                tally = _tally(
                    documents,
                    int(index["end_of_document"]),
                    models,
                    {**baselines, "bigram_own_group": own},
                    settings.scoring,
                    partial(advance, note=group),
                )
                write_json(files[group], tally.as_json())
    return {group: Tally.from_json(json.loads(file.read_text(encoding="utf-8"))) for group, file in files.items()}


def _tally(
    documents: Sequence[Document],
    end_of_document: int,
    models: Mapping[str, Decoder],
    baselines: Mapping[str, Baseline],
    scoring: Scoring,
    advance: Callable[[float], None],
) -> Tally:
    tokens = [each for each, _ in documents]
    bits = {name: document_bits(model, tokens, end_of_document, scoring, advance) for name, model in models.items()}
    bits |= {name: baseline_bits(baseline, tokens, end_of_document) for name, baseline in baselines.items()}
    sizes = np.array([size_bytes for _, size_bytes in documents], np.int64)
    return Tally(np.array([len(each) for each in tokens], np.int64), sizes, bits)


def _baselines(
    inputs: Mapping[str, Artifact], seed: int, pretrain: Pretraining, index: Mapping[str, Any]
) -> dict[str, Baseline]:
    """The baselines, fitted on the pairs of tokens that the model was trained on and on nothing else."""
    plan = RunPlan(inputs["tokens"].path, seed, pretrain.batch_forms)
    with progress("baselines", pretrain.steps) as advance:
        seen = count_pairs(trained_pairs(plan, pretrain.steps, advance), index["vocabulary"])
    trained_tokens = inputs["pretrain"].facts["tokens"]
    assert seen.total == trained_tokens, f"the model saw {trained_tokens:,} tokens, the baselines {seen.total:,}"
    return {
        "uniform": uniform(index["vocabulary"]),
        "unigram": unigram(seen),
        "bigram": kneser_ney_bigram(seen),
    }


def _answers(
    parts: Path, inputs: Mapping[str, Artifact], settings: EvaluateSettings, machine: Machine
) -> dict[str, Any]:
    """What the tuned model answers to the questions and the sample prompts; read from ``parts`` if it was asked."""
    file = parts / "answers.json"
    if not file.exists():
        tokenizer = Tokenizer.from_file(str(inputs["tokenizer"].file("tokenizer.json")))
        decoder = load_model(inputs["tune"].path, choose_device(machine))
        questions = {language: asked[: settings.questions_per_language] for language, asked in QUESTIONS.items()}
        prompts = [*questions["en"], *questions["zh"], *settings.sample_prompts]
        with progress("answers", len(prompts)) as advance:
            length = settings.answer_tokens
            given = answers(decoder, tokenizer, prompts, end_of_document=END_OF_TEXT, tokens=length, advance=advance)
        agreement = {}
        for language, asked in questions.items():
            replies, given = given[: len(asked)], given[len(asked) :]
            agreement[language] = {"asked": len(asked), "same_language": same_language(replies, language)}
        samples = [
            {"prompt": each.prompt, "answer": each.text, "language": language_of(each.text), "ended": each.ended}
            for each in given
        ]
        write_json(file, {"language_of_answers": agreement, "samples": samples})
    said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return said


def _summary(scores: Mapping[str, Any]) -> str:
    languages = " · ".join(
        f"{language} {found['model']:.2f} against {found['bigram']:.2f}"
        for language, found in scores["by_language"].items()
    )
    return f"bits per byte of model against bigram: {languages}"
