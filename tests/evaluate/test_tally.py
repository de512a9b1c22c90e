"""Bits add up over documents, and the standard error is that of resampled documents."""

import json
import math

import numpy as np
import pytest

from fromscratch.evaluate.tally import Tally, row


def made(documents: int, seed: int) -> Tally:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(50, 2_000, documents)
    bits = {
        "model": sizes * generator.normal(1.5, 0.2, documents),
        "bigram": sizes * generator.normal(1.9, 0.2, documents),
    }
    return Tally(sizes // 4, sizes, bits)


def test_bits_per_byte_weigh_documents_by_their_bytes() -> None:
    tally = Tally(np.array([1, 2]), np.array([10, 30]), {"model": np.array([10.0, 90.0]), "bigram": np.array([40, 80])})
    found = row(tally)
    assert (found["documents"], found["tokens"], found["bytes"]) == (2, 3, 40)
    assert (found["model"], found["bigram"], found["ahead_of_bigram"]) == (2.5, 3.0, 0.5)


def test_joined_parts_score_like_one() -> None:
    first, second = made(30, 1), made(70, 2)
    whole = row(Tally.join([first, second]))
    expected = (first.bits["model"].sum() + second.bits["model"].sum()) / (first.bytes.sum() + second.bytes.sum())
    assert whole["model"] == pytest.approx(expected, abs=1e-5) and whole["documents"] == 100


def test_the_standard_error_is_that_of_resampled_documents() -> None:
    tally, generator = made(400, 3), np.random.default_rng(4)
    leads = []
    for _ in range(2_000):
        drawn = generator.integers(0, 400, 400)
        leads.append((tally.bits["bigram"] - tally.bits["model"])[drawn].sum() / tally.bytes[drawn].sum())
    assert row(tally)["standard_error"] == pytest.approx(np.std(leads), rel=0.1)


def test_one_document_has_no_standard_error() -> None:
    assert row(made(1, 5))["standard_error"] is None


def test_a_tally_survives_json() -> None:
    tally = made(20, 6)
    again = Tally.from_json(json.loads(json.dumps(tally.as_json())))
    assert again.as_json() == tally.as_json()
    assert all(math.isclose(row(again)[key], row(tally)[key], abs_tol=1e-5) for key in ("model", "standard_error"))
