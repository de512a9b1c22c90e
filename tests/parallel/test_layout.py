"""Layouts that cannot be are refused with the number to change and to what."""

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Machine, Parallel
from fromscratch.model.settings import DecoderSettings, RelativePositions
from fromscratch.parallel.layout import (
    Layout,
    choose_layout,
    micro_batches,
    process_count,
    refuse_what_does_not_divide,
)

MODEL = DecoderSettings(layers=4, width=32, heads=8, kv_heads=4, ffn_width=48, context_tokens=24)


def test_what_is_left_shares_out_the_weights() -> None:
    assert choose_layout(Parallel(), 1) == Layout()
    assert choose_layout(Parallel(), 6) == Layout(shard=6)
    assert choose_layout(Parallel(tensor=2, pipeline=2), 8) == Layout(shard=2, tensor=2, pipeline=2)
    assert choose_layout(Parallel(replicate=3, shard=2), 6) == Layout(replicate=3, shard=2)


def test_under_torchrun_its_number_of_processes_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_count(Machine(processes=2)) == 2
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert process_count(Machine(processes=2)) == 8


@pytest.mark.parametrize(
    ("settings", "processes", "message", "hint"),
    [
        (Parallel(tensor=4), 6, "asks for tensor 4 = 4 processes or a multiple, and there are 6", "use 8 processes"),
        (
            Parallel(shard=2, tensor=2),
            2,
            "asks for shard 2 × tensor 2 = 4 processes, and there are 2",
            "`machine.processes` = 4",
        ),
    ],
)
def test_sizes_that_do_not_multiply_to_the_processes(
    settings: Parallel, processes: int, message: str, hint: str
) -> None:
    with pytest.raises(FromScratchError) as refused:
        choose_layout(settings, processes)
    assert message in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("layout", "changes", "message", "hint"),
    [
        (Layout(shard=3), {}, "`pretrain.batch_sequences` = 8 ", "use 9, or let replicate × shard be 1 or 2"),
        (Layout(pipeline=3), {}, "`model.layers` = 4 ", "use 6, or let pipeline be 1 or 2"),
        (
            Layout(tensor=5),
            {},
            "`pretrain.sequence_tokens` = 24 ",
            "use 25, or let context × tensor be 1 or 2 or 3 or 4",
        ),
        (Layout(tensor=2, context=4), {}, "`model.kv_heads` = 4 ", "use 8, or let context × tensor be 1 or 2 or 4"),
        (Layout(tensor=2), {"ffn_width": 49}, "`model.ffn_width` = 49 ", "use 50, or let tensor be 1"),
        (Layout(tensor=2), {"positions": RelativePositions()}, '"relative"', "`machine.parallel.tensor` = 1"),
        (Layout(pipeline=2), {"head": "tied"}, '"tied"', 'or `model.head` = "untied"'),
        (Layout(pipeline=4, shard=4), {}, "2 sequences of a process", "`pretrain.batch_sequences` to 16 or more"),
    ],
)
def test_what_cannot_be_shared_out(layout: Layout, changes: dict[str, object], message: str, hint: str) -> None:
    refuse_what_does_not_divide(Layout(), MODEL, 8, 24, None)
    with pytest.raises(FromScratchError) as refused:
        refuse_what_does_not_divide(layout, MODEL.model_copy(update=changes), 8, 24, None)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_a_pipeline_has_micro_batches_of_one_size_and_enough_of_them() -> None:
    two = Layout(pipeline=2)
    assert [micro_batches(two, rows, None) for rows in (2, 8, 12, 64)] == [2, 8, 6, 8]
    assert micro_batches(two, 12, 3) == 4
    with pytest.raises(FromScratchError) as refused:
        micro_batches(two, 8, 3)
    assert refused.value.hint == "use 1 or 2 or 4"
