"""Linear classifiers tell classes apart, say how sure they are, and report what they get right."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fromscratch.corpus.learning.linear_model import (
    LinearModel,
    _calibrated,
    class_probabilities,
    load_linear,
    save_linear,
    train_linear,
)

COMMON = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
Pieces = tuple[pa.LargeStringArray, np.ndarray[tuple[int], np.dtype[np.int64]]]


def pieces(markers: list[str], share: float, count: int = 400, seed: int = 0) -> Pieces:
    """Texts of common words, some of which are words that mark the class."""
    chance = random.Random(f"{markers}{seed}")
    texts = [
        " ".join(chance.choice(markers if chance.random() < share else COMMON) for _ in range(40)) for _ in range(count)
    ]
    return pa.array(texts, pa.large_string()), np.arange(count) % 10


def arrow(*texts: str) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def test_two_classes_are_told_apart_and_the_report_says_so() -> None:
    model = train_linear({"bad": pieces(["spam", "pills"], 0.3), "good": pieces(["river", "stone"], 0.3)}, 14, 2)
    assert model.report["classes"] == ["bad", "good"]
    assert model.report["accuracy"] > 0.98 and model.report["area_under_curve"] > 0.99
    found = class_probabilities(model, arrow("spam worda wordb pills wordc", "the river and the stone"))
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert found[0, 1] < 0.2 and found[1, 1] > 0.8


def test_probabilities_are_calibrated_and_classes_weigh_alike_however_many_texts_they_have() -> None:
    # More than half of the texts have a word that marks their class; of the others nothing can be known.
    classes = {"bad": pieces(["spam"], 0.02, 3000), "good": pieces(["river"], 0.02, 1000)}
    model = train_linear(classes, 14, 3)
    neutral = class_probabilities(model, pieces(["worda"], 0, 300, seed=7)[0])[:, 1]
    assert 0.4 < np.median(neutral) < 0.6
    marked = pa.array(["spam " + text.as_py() for text in pieces(["worda"], 0, 300, seed=8)[0]], pa.large_string())
    assert np.median(class_probabilities(model, marked)[:, 1]) < 0.1
    sure = [each for each in model.report["calibration"] if each["said"] > 0.9]
    assert sure and all(each["right"] > 0.85 for each in sure)


def test_many_classes_and_word_order_and_han_triples_count() -> None:
    texts = {"ab": ["alpha beta"], "ba": ["beta alpha"], "zh": ["天地玄黄宇宙洪荒"], "hz": ["荒洪宙宇黄玄地天"]}
    many = {name: (arrow(*(each * 100)), np.arange(100) % 10) for name, each in texts.items()}
    model = train_linear(many, 12, 3)
    found = class_probabilities(model, arrow(*(each[0] for each in texts.values())))
    assert found.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert model.report["accuracy"] == 1 and "area_under_curve" not in model.report


def test_training_twice_gives_the_same_bytes_and_files_say_the_same(tmp_path: Path) -> None:
    classes = {"bad": pieces(["spam"], 0.2, 100), "good": pieces(["river"], 0.2, 100)}
    first, second = (train_linear(classes, 12, 2) for _ in range(2))
    assert first.weights.tobytes() == second.weights.tobytes() and first.report == second.report
    save_linear(first, tmp_path / "en")
    loaded = load_linear(tmp_path / "en")
    assert isinstance(loaded.weights, np.memmap)
    texts = arrow("spam river", "", "worda")
    assert class_probabilities(loaded, texts).tolist() == class_probabilities(first, texts).tolist()


def test_a_long_text_of_the_same_is_no_surer_than_a_page() -> None:
    model = train_linear({"bad": pieces(["spam"], 0.3), "good": pieces(["river"], 0.3)}, 14, 2)
    page, book = class_probabilities(model, arrow("river worda wordb " * 170, "river worda wordb " * 17_000))[:, 1]
    assert book == pytest.approx(page, abs=1e-3)


def test_one_wrong_label_among_few_does_not_turn_the_probabilities_around() -> None:
    # Newton's whole first step would: at logits this large the curve is flat, and one mistake weighs all there is.
    found = np.concatenate([np.full(15, -30.0), [25.0], np.full(470, 25.0)])[:, None]
    labels = np.repeat(np.array([0, 1], np.int32), [16, 470])
    flat = LinearModel(np.ones((2, 1), np.float32), np.zeros(1, np.float32), {})
    calibrated = _calibrated(flat, found, labels)
    assert 0 < calibrated.weights[0, 0] < 1
