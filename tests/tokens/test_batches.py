"""Batch i depends on i alone, holds windows of the stream, and repeats none within an epoch."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.tokens.batches import BatchPlan, trained_batches
from tests.tokens.conftest import make_shards

EVEN = {"en": 1.0, "zh": 1.0}


def plan_of(
    shards: Path, mixture: dict[str, float] | None = None, seed: int = 1, batch_sequences: int = 4
) -> BatchPlan:
    return BatchPlan(shards, mixture, seed, sequence_tokens=10, batch_sequences=batch_sequences)


def test_a_row_is_a_window_of_a_groups_stream_also_across_shards(shards: Path) -> None:
    plan = plan_of(shards)
    assert plan.groups == ("en/books", "en/technical", "zh/books")
    for number in range(30):
        group, window = plan.places(number)
        expected = group[:, None] * 10_000 + window[:, None] * 10 + np.arange(11)
        batch = plan.batch(number)
        assert batch.dtype == np.int64 and np.array_equal(batch, expected)


def test_a_batch_is_the_same_in_any_order_of_asking_and_after_a_restart(shards: Path) -> None:
    plan = plan_of(shards, EVEN)
    forwards = [plan.batch(number) for number in range(50)]
    again = plan_of(shards, EVEN)
    for number in (49, 3, 1500, 0, 3, 27):
        assert np.array_equal(again.batch(number), plan.batch(number))
    assert np.array_equal(again.batch(27), forwards[27])


def test_the_sequences_are_the_same_for_every_batch_size(shards: Path) -> None:
    by_four = np.concatenate([plan_of(shards).batch(number) for number in range(6)])
    by_three = np.concatenate([plan_of(shards, batch_sequences=3).batch(number) for number in range(8)])
    assert np.array_equal(by_four, by_three)


def test_another_seed_gives_another_order(shards: Path) -> None:
    one_group = {"zh/books": 1.0}  # so that only the order of its windows can differ
    assert not np.array_equal(plan_of(shards, one_group, seed=1).batch(0), plan_of(shards, one_group, seed=2).batch(0))


def test_an_epoch_shows_every_window_once_and_the_next_in_another_order(shards: Path) -> None:
    plan = plan_of(shards, EVEN, batch_sequences=1)
    assert plan.windows == {"en/books": 99, "en/technical": 34, "zh/books": 11}
    windows: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for number in range(600):
        group, window = plan.places(number)
        windows[int(group[0])].append(int(window[0]))
    for each, size in enumerate(plan.windows.values()):
        epochs = [windows[each][first : first + size] for first in range(0, len(windows[each]) - size + 1, size)]
        assert len(epochs) >= 2
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert epochs[0] != epochs[1]


def test_adding_a_group_does_not_reorder_the_others(shards: Path, tmp_path: Path) -> None:
    alone = plan_of(make_shards(tmp_path / "tokens", {"en/books": [[999]]}), {"en/books": 1}, batch_sequences=99)
    together = plan_of(shards, {"en/books": 1}, batch_sequences=99)
    assert np.array_equal(alone.batch(0), together.batch(0))


def test_shares_are_those_asked_for(shards: Path) -> None:
    plan = plan_of(shards, {"en/books": 1, "zh": 3}, batch_sequences=64)
    assert plan.weights == {"en/books": 0.25, "zh/books": 0.75}
    first_tokens = np.concatenate([plan.batch(number) for number in range(10)])[:, 0]
    assert abs(np.count_nonzero(first_tokens < 10_000) - 160) <= 3


def test_the_position_counts_what_was_drawn(shards: Path) -> None:
    plan = plan_of(shards, EVEN)
    drawn = np.bincount(np.concatenate([plan.places(number)[0] for number in range(200)]), minlength=3).tolist()
    position = plan.position(200)
    assert position == {
        "batch": 200,
        "sequences": dict(zip(plan.groups, drawn, strict=True)),
        "epochs": {"en/books": drawn[0] // 99, "en/technical": drawn[1] // 34, "zh/books": drawn[2] // 11},
    }
    assert json.loads(json.dumps(position)) == position and sum(drawn) == 800
    assert plan.position(0)["sequences"] == {"en/books": 0, "en/technical": 0, "zh/books": 0}


def test_baselines_are_given_exactly_the_batches_of_the_run(shards: Path) -> None:
    plan = plan_of(shards)
    listed = list(trained_batches(plan, 3))
    assert len(listed) == 3 and all(np.array_equal(listed[number], plan.batch(number)) for number in range(3))


def test_ids_beyond_16_bits_are_read(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "tokens", {f"en/{n}": [[50]] for n in range(9)}, vocabulary=90_000)
    assert plan_of(folder, {"en/8": 1}).batch(0).min() >= 80_000


def test_a_group_that_is_missing_or_too_small_is_refused(shards: Path) -> None:
    with pytest.raises(FromScratchError, match="nothing to train on of `zh/book`") as refused:
        plan_of(shards, {"zh/book": 1})
    assert refused.value.hint == "did you mean `zh/books`?"
    with pytest.raises(FromScratchError, match="nothing to train on of `zh/tiny`"):
        plan_of(shards, {"zh/tiny": 1})


def test_a_corpus_smaller_than_one_window_is_refused(shards: Path) -> None:
    with pytest.raises(FromScratchError, match="no group fills one sequence of 1,000 tokens; the largest has 999"):
        BatchPlan(shards, None, seed=1, sequence_tokens=1000, batch_sequences=1)
    BatchPlan(shards, None, seed=1, sequence_tokens=998, batch_sequences=1).batch(5)


def test_a_cut_shard_is_named(shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "tokens")
    shard = copy / "train" / "zh--books-00001.tokens"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(FromScratchError, match=r"zh--books-00001\.tokens: 119 bytes where 120"):
        plan_of(copy)
    (copy / "index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FromScratchError, match=r"index\.json: not an index"):
        plan_of(copy)
