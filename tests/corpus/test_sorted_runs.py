"""Sorted runs: what was added is found, in the order of adding, however it was merged since."""

import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from fromscratch.core.files import digest_file
from fromscratch.corpus.comparison import sorted_runs
from fromscratch.corpus.comparison.sorted_runs import SortedRuns

U64 = np.uint64


def filled(folder: Path, batches: int, seed: int = 0) -> tuple[SortedRuns, dict[int, list[int]]]:
    """Runs after so many batches, and what they should hold; some keys come often."""
    draw = random.Random(seed)
    often = [draw.randrange(2**64) for _ in range(20)]
    runs, expected, number = SortedRuns(folder, "bands"), defaultdict(list), 0
    for _ in range(batches):
        keys = [draw.choice(often) if draw.random() < 0.1 else draw.randrange(2**64) for _ in range(draw.randrange(40))]
        for key in keys:
            expected[key].append(number := number + 1)
        runs.add(np.array(keys, U64), np.arange(number - len(keys) + 1, number + 1, dtype=U64))
    return runs, expected


def found(runs: SortedRuns, keys: list[int]) -> dict[int, list[int]]:
    """What is found of keys that are asked for in any order, and twice."""
    twice = random.Random(1).sample([*keys, *keys], 2 * len(keys))
    lists: list[list[int]] = [[] for _ in twice]
    for place, value in zip(*runs.find(np.array(twice, U64)), strict=True):
        lists[place].append(int(value))
    result = dict(zip(twice, lists, strict=True))
    assert lists == [result[key] for key in twice]
    return result


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_runs, "MERGED_ENTRIES", 64)
    monkeypatch.setattr(sorted_runs, "FOUND_KEYS", 50)


@pytest.mark.parametrize("batches", [0, 1, 7, 8, 70, 150])
def test_every_entry_is_found_in_the_order_of_adding(tmp_path: Path, batches: int) -> None:
    runs, expected = filled(tmp_path, batches)
    strangers = [0, 5, 2**63, 2**64 - 1]
    assert found(runs, [*expected, *strangers]) == {**expected, **{key: [] for key in strangers}}


def test_runs_stay_few(tmp_path: Path) -> None:
    runs, _ = filled(tmp_path, 500)
    assert len(runs.names) <= 3 * 7


def test_runs_are_opened_again_by_their_names_alone(tmp_path: Path) -> None:
    runs, expected = filled(tmp_path, 100)
    runs.remove_others()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(runs.names)
    assert found(SortedRuns(tmp_path, "bands", runs.names), list(expected)) == expected


def test_runs_of_an_earlier_commit_stay_until_they_are_removed(tmp_path: Path) -> None:
    runs, expected = filled(tmp_path, 7)
    before = list(runs.names)
    runs.add(np.array([3], U64), np.array([99], U64))
    assert len(runs.names) == 1
    assert found(SortedRuns(tmp_path, "bands", before), [*expected, 3]) == {**expected, 3: []}


def test_a_compacted_index_is_one_run_of_the_same_content(tmp_path: Path) -> None:
    runs, expected = filled(tmp_path, 90)
    name = runs.compact(tmp_path / "whole-0-0")
    assert found(SortedRuns(tmp_path, "whole", [name]), list(expected)) == expected
    name = SortedRuns(tmp_path, "none").compact(tmp_path / "none-0-0")
    assert found(SortedRuns(tmp_path, "none", [name]), [1]) == {1: []}


def test_equal_batches_give_equal_files(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        runs, _ = filled(tmp_path / name, 100)
        digests.append([(each, digest_file(runs.folder / each)) for each in runs.names])
    assert digests[0] == digests[1]
