"""Chance by ids is even, the same everywhere, and another one for each purpose."""

import hashlib

import numpy as np

from fromscratch.corpus.learning.chance import chance_of_ids

IDS = np.array([f"{number:016x}" for number in range(4000)], object)


def test_numbers_are_evenly_spread_between_0_and_1() -> None:
    drawn = chance_of_ids(IDS, "topics")
    assert drawn.min() >= 0 and drawn.max() < 1
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] - 400).max() < 80


def test_an_id_draws_the_same_number_always_and_another_one_for_another_purpose() -> None:
    digest = hashlib.blake2b(b"topics\x00" + IDS[0].encode(), digest_size=8).digest()
    assert chance_of_ids(IDS[:2], "topics")[0] == (int.from_bytes(digest, "little") >> 11) / 2**53
    assert chance_of_ids(IDS[5:6], "topics") == chance_of_ids(IDS, "topics")[5]
    assert abs(np.corrcoef(chance_of_ids(IDS, "topics"), chance_of_ids(IDS, "likeness"))[0, 1]) < 0.05
    assert len(chance_of_ids(IDS[:0], "topics")) == 0
