"""Linear classifiers over hashed n-grams: trained on texts by class, calibrated, and told how well they do."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fromscratch.core.files import atomic_write, write_json
from fromscratch.corpus.kernels.characters import character_tables
from fromscratch.corpus.kernels.text_buffers import text_buffers
from fromscratch.corpus.learning.kernels import logits, train_weights

__all__ = ["LinearModel", "class_probabilities", "load_linear", "save_linear", "train_linear"]

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]
Labels = NDArray[np.int32]

RATE = 0.2
GRAMS_OF_CERTAINTY = 1000  # a text of more is as certain as one of so many, which is what training pieces have at most
CALIBRATION_STEPS, LEAST_STEP = 30, 1e-9
BINS = 10


class LinearModel(NamedTuple):
    """Logits of all classes but the first: the biases, plus the weights of a text's n-grams."""

    weights: Weights
    """[2^bits, classes - 1], by the hash of an n-gram."""
    biases: Weights
    report: dict[str, Any]
    """The classes, and what the model got right of texts that it was not trained on."""


def train_linear(
    pieces: Mapping[str, tuple[pa.LargeStringArray, NDArray[np.int64]]], bits: int, passes: int
) -> LinearModel:
    """Learn to tell the classes apart, each of which counts as much as the others, however many texts it has.

    Hashed words and pairs of words, and one to three Han characters (features as in Joulin et al. 2017, arXiv
    1607.01759; hashing by Weinberger et al. 2009, 0902.2206). ``pieces`` has texts by class and in which of ten parts
    each is: the ninth part calibrates the probabilities, by Platt's scale and offsets (Guo et al. 2017, 1706.04599);
    the tenth measures them.
    """
    names = list(pieces)
    texts = pa.concat_arrays([each for each, _ in pieces.values()])
    labels = np.repeat(np.arange(len(names), dtype=np.int32), [len(each) for each, _ in pieces.values()])
    parts = np.concatenate([each for _, each in pieces.values()])
    training, calibrating, measuring = (np.flatnonzero(each) for each in (parts < 8, parts == 8, parts == 9))
    weights = np.zeros((1 << bits, len(names) - 1), np.float32)
    biases = np.zeros(len(names) - 1, np.float32)
    importance = len(training) / (len(names) * np.maximum(np.bincount(labels[training], minlength=len(names)), 1))
    random = np.random.default_rng(0)
    order = np.concatenate([random.permutation(training) for _ in range(passes)])
    tables = character_tables()
    train_weights(
        *text_buffers(texts), tables.classes, tables.lower, labels, importance, order, RATE, GRAMS_OF_CERTAINTY,
        weights, biases,
    )  # fmt: skip
    model = LinearModel(weights, biases, {})
    model = _calibrated(model, _logits(model, texts.take(pa.array(calibrating))), labels[calibrating])
    measured = class_probabilities(model, texts.take(pa.array(measuring)))
    return model._replace(report={"classes": names, **_scores(names, measured, labels[measuring])})


def class_probabilities(model: LinearModel, texts: pa.LargeStringArray) -> Floats:
    """Probabilities [texts, classes]."""
    return _softmax(_logits(model, texts))


def _logits(model: LinearModel, texts: pa.LargeStringArray) -> Floats:
    tables = character_tables()
    found: Floats = logits(
        *text_buffers(texts), tables.classes, tables.lower, model.weights, model.biases, GRAMS_OF_CERTAINTY
    )
    return found


def _softmax(of_others: Floats) -> Floats:
    """Probabilities of all classes, from the logits of all but the first, which has 0."""
    every = np.pad(of_others, ((0, 0), (1, 0)))
    raised = np.exp(every - every.max(axis=1, keepdims=True))
    probabilities: Floats = raised / raised.sum(axis=1, keepdims=True)
    return probabilities


def _calibrated(model: LinearModel, found: Floats, labels: Labels) -> LinearModel:
    """The model with one scale and an offset by class, which make held-back labels likeliest, by Newton's method.

    A unit's worth of a normal prior around no change keeps them finite where the classes part without a mistake.
    """
    classes = found.shape[1] + 1
    importance = 1 / np.maximum(np.bincount(labels, minlength=classes), 1)[labels]
    importance *= len(labels) / max(importance.sum(), 1e-9)
    inputs = np.zeros((*found.shape, classes))  # of the logit of each class: its own score, and its offset
    inputs[:, :, 0] = found
    inputs[:, np.arange(classes - 1), np.arange(1, classes)] = 1
    none = change = np.eye(1, classes)[0]
    hits = np.arange(1, classes) == labels[:, None]

    def loss(change: Floats) -> float:
        right = _softmax(inputs @ change)[np.arange(len(labels)), labels]
        return float(-(importance * np.log(np.maximum(right, 1e-300))).sum() + ((change - none) ** 2).sum() / 2)

    for _ in range(CALIBRATION_STEPS):
        guesses = _softmax(inputs @ change)[:, 1:]
        slope = np.einsum("tc,tcp->p", (guesses - hits) * importance[:, None], inputs) + change - none
        mean = np.einsum("tc,tcp->tp", guesses, inputs)
        curve = np.einsum("tc,tcp,tcq->pq", guesses * importance[:, None], inputs, inputs)
        curve += np.eye(classes) - np.einsum("tp,tq->pq", mean * importance[:, None], mean)
        step = np.linalg.solve(curve, slope)
        while loss(change - step) > loss(change) and np.abs(step).max() > LEAST_STEP:
            step /= 2  # far from the optimum a whole step may lead away
        change = change - step
    scale, offsets = change[0], change[1:]
    return LinearModel(
        (model.weights * scale).astype(np.float32), (model.biases * scale + offsets).astype(np.float32), {}
    )


def _scores(names: Sequence[str], probabilities: Floats, labels: Labels) -> dict[str, Any]:
    """How the model does: accuracy, log loss, area under the curve of two classes, and calibration by bins."""
    guesses, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = guesses == labels
    of_truth = probabilities[np.arange(len(labels)), labels]
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    scores: dict[str, Any] = {
        "texts": {name: int((labels == each).sum()) for each, name in enumerate(names)},
        "accuracy": round(float(right.mean()), 4),
        "accuracy_by_class": {
            name: round(float(right[labels == each].mean()), 4)
            for each, name in enumerate(names)
            if (labels == each).any()
        },
        "log_loss": round(float(-np.log(np.maximum(of_truth, 1e-9)).mean()), 4),
        "calibration": [
            {
                "texts": int((bins == each).sum()),
                "said": round(float(sure[bins == each].mean()), 4),
                "right": round(float(right[bins == each].mean()), 4),
            }
            for each in range(BINS)
            if (bins == each).any()
        ],
    }
    if len(names) == 2 and 0 < labels.sum() < len(labels):
        ranks = np.argsort(np.argsort(probabilities[:, 1])) + 1
        positive = int(labels.sum())
        area = (ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))
        scores["area_under_curve"] = round(float(area), 4)
    return scores


def save_linear(model: LinearModel, path: Path) -> None:
    """Write ``path``.npy, then ``path``.json, whose presence says that both are whole."""
    with atomic_write(path.with_name(f"{path.name}.npy")) as temporary, temporary.open("wb") as file:
        np.save(file, np.vstack([model.weights, model.biases]))
    write_json(path.with_name(f"{path.name}.json"), model.report)


def load_linear(path: Path) -> LinearModel:
    """What `save_linear` wrote, mapped into memory, so that the processes of a machine share it."""
    return _loaded(path, path.with_name(f"{path.name}.json").stat().st_mtime_ns)


@cache
def _loaded(path: Path, written: int) -> LinearModel:
    del written  # the key alone: another run may have put another model there
    report = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    stored = np.load(path.with_name(f"{path.name}.npy"), mmap_mode="r")
    return LinearModel(stored[:-1], stored[-1], report)
