"""A run whose batches change on the way: each depends on its number alone, and no window comes too early again."""

from pathlib import Path

import numpy as np

from fromscratch.tokens.batches import BatchPlan, RunPlan
from fromscratch.tokens.settings import BatchForm

FORMS = (
    BatchForm(6, 4, 10, None),
    BatchForm(5, 8, 10, {"zh": 1.0, "en/technical": 1.0}),
    BatchForm(4, 2, 30, {"en": 1.0}),
    BatchForm(3, 4, 10, None),
)


def test_each_stage_has_its_form_and_the_first_is_that_of_a_run_without_stages(shards: Path) -> None:
    plan = RunPlan(shards, 1, FORMS)
    batches = [plan.batch(number) for number in range(18)]
    assert [each.shape for each in batches] == [(4, 11)] * 6 + [(8, 11)] * 5 + [(2, 31)] * 4 + [(4, 11)] * 3
    alone = BatchPlan(shards, None, 1, 10, 4)
    assert all(np.array_equal(batches[number], alone.batch(number)) for number in range(6))
    assert {int(each) // 10_000 for batch in batches[6:11] for each in batch[:, 0]} == {1, 2}
    again = RunPlan(shards, 1, FORMS)
    assert all(np.array_equal(again.batch(number), batches[number]) for number in (17, 3, 10, 6, 14))


def test_a_group_goes_on_in_its_epoch_where_windows_keep_their_length(shards: Path) -> None:
    plan = RunPlan(shards, 1, FORMS)
    rows = np.concatenate([plan.batch(number) for number in (*range(11), 15, 16, 17)])[:, 0]
    english = rows[rows < 10_000].tolist()
    assert len(english) == len(set(english)), "99 windows, fewer drawn, and none twice"
    technical = rows[(rows >= 10_000) & (rows < 20_000)].tolist()
    assert len(technical) > 20 and len(technical) == len(set(technical))


def test_the_position_is_that_of_the_run_and_names_the_stage(shards: Path) -> None:
    plan = RunPlan(shards, 1, FORMS)
    positions = [plan.position(number) for number in range(19)]
    assert [each["batch"] for each in positions] == list(range(19))
    assert [each["stage"] for each in positions] == [0] * 6 + [1] * 5 + [2] * 4 + [3] * 4
    drawn = [sum(each["sequences"].values()) for each in positions]
    assert drawn[:7] == [0, 4, 8, 12, 16, 20, drawn[6]] and drawn[18] - drawn[15] == 12
    assert "stage" not in RunPlan(shards, 1, FORMS[:1]).position(3)


def test_shares_are_of_the_tokens_of_all_stages(shards: Path) -> None:
    halves = (BatchForm(10, 4, 10, {"en/books": 1.0}), BatchForm(10, 2, 20, {"en/books": 1.0, "zh/books": 3.0}))
    assert RunPlan(shards, 1, halves).weights == {"en/books": 0.625, "zh/books": 0.375}


def test_sources_name_the_documents_of_each_sequence(shards: Path) -> None:
    plan = RunPlan(shards, 1, FORMS)
    for number in (0, 7, 12, 17):
        batch = plan.batch(number)
        for row, source in zip(batch, plan.sources(number), strict=True):
            offset = {"en/books": 0, "en/technical": 10_000, "zh/books": 20_000}[source.group]
            assert (row[0], row[-1]) == (offset + source.first, offset + source.end)
            ends = {"en/books": [333, 346, 366, 666, 999], "en/technical": [350], "zh/books": [60, 120]}[source.group]
            touched = {
                next(at for at, end in enumerate(ends) if place < end) for place in range(source.first, source.end)
            }
            assert len(source.documents) == len(touched)
