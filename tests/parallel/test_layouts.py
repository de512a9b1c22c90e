"""Every layout trains like one process, holds what it says, and goes on with the checkpoint of every other one."""

from pathlib import Path
from typing import Any

import pytest

from fromscratch.core.workplace import Workplace
from fromscratch.optim.settings import AdamW, Muon
from fromscratch.parallel.launch import work_together
from fromscratch.parallel.layout import Layout
from fromscratch.parallel.mesh import ALONE
from tests.parallel.training import WHOLE, Trial, run_all, train
from tests.parallel.work import muon_steps

OF_TWO = {
    "FSDP2": Layout(shard=2),
    "HSDP": Layout(replicate=2),
    "tensor and sequence": Layout(tensor=2),
    "context": Layout(context=2),
    "pipeline": Layout(pipeline=2),
}
OF_FOUR = {
    "FSDP2": Layout(shard=4),
    "HSDP": Layout(replicate=2, shard=2),
    "FSDP2 × tensor": Layout(shard=2, tensor=2),
    "FSDP2 × pipeline": Layout(shard=2, pipeline=2),
    "tensor × pipeline": Layout(tensor=2, pipeline=2),
    "context × tensor": Layout(context=2, tensor=2),
}
OTHERS: list[dict[str, Any]] = [
    {"positions": {"kind": "alibi"}, "norm": "layer", "norm_placement": "post", "biases": "all", "activation": "gelu"},
    {"positions": {"kind": "learned"}, "qk_norm": "head", "window_tokens": 7, "biases": "query_key_value"},
    {"positions": {"kind": "sinusoidal"}, "norm_placement": "sandwich", "block": "parallel"},
]
TIED = {"head": "tied"}
PLAIN = Trial()
STEPS = 4


def alone(trial: Trial, workplace: Workplace) -> dict[str, Any]:
    return train(trial, workplace, ALONE)


def assert_like(one: dict[str, Any], other: dict[str, Any], what: Any) -> None:
    assert one["losses"] == pytest.approx(other["losses"], abs=1e-6), what
    assert one["norms"] == pytest.approx(other["norms"], rel=1e-4), what
    for part in ("attention norms", "head norms"):
        assert one[part] == pytest.approx(other[part], rel=1e-3), (what, part)
    assert one["tokens"] == other["tokens"], what


@pytest.fixture(scope="module")
def expected(workplace: Workplace) -> dict[str, Any]:
    result = alone(PLAIN, workplace)
    assert result["losses"][-1] < 0.9 * result["losses"][0]
    return result


def test_two_processes_have_the_losses_of_one(workplace: Workplace, expected: dict[str, Any]) -> None:
    results = work_together(run_all, [(each, PLAIN) for each in OF_TWO.values()], workplace, Layout(shard=2))
    for layout, result in zip(OF_TWO, results, strict=True):
        assert_like(result, expected, layout)
        copies = 2 if layout == "HSDP" else 1
        assert result["held"] == pytest.approx(WHOLE * copies / 2, rel=0.05), layout  # no layout comes out even


def test_so_do_other_decoders_micro_batches_and_optimisers(workplace: Workplace) -> None:
    muon = Muon(rest=AdamW(learning_rates={"embedding.weight": 0.02, "head.weight": 0.01}))
    whole = [Trial(TIED, end=2), Trial(document_end=5, end=2)]  # what a pipeline is refused
    whole.append(Trial(OTHERS[1], recompute="selective", end=2))
    parts = [Trial(recompute="full", end=2), Trial(micro_batch_sequences=1, end=3)]
    trials = [*(Trial(each, end=2) for each in OTHERS), *whole, *parts]
    rounded = [Trial(optimizer=muon, end=3), Trial(precision="bf16", end=2)]  # where bf16 rounds otherwise
    plan = [
        (layout, trial)
        for layout in OF_TWO.values()
        for trial in [*trials, *rounded]
        if trial not in whole or layout.pipeline == 1
    ]
    results = work_together(run_all, plan, workplace, Layout(shard=2))
    expected = {repr(trial): alone(trial, workplace) for trial in [*trials, *rounded]}
    for (layout, trial), result in zip(plan, results, strict=True):
        if trial in rounded:
            assert result["losses"] == pytest.approx(expected[repr(trial)]["losses"], abs=3e-3), (layout, trial)
        else:
            assert_like(result, expected[repr(trial)], (layout, trial))


def test_products_on_four_processes_have_the_losses_of_one(workplace: Workplace, expected: dict[str, Any]) -> None:
    plan = [(each, PLAIN) for each in OF_FOUR.values()]
    for layout in (Layout(tensor=4), Layout(context=2, pipeline=2), Layout(replicate=2, tensor=2)):
        plan.append((layout, Trial(end=3)))
    for (layout, trial), result in zip(plan, work_together(run_all, plan, workplace, Layout(shard=4)), strict=True):
        assert_like(result, {name: each[: trial.end] for name, each in expected.items() if name != "held"}, layout)


def test_any_checkpoint_loads_into_any_layout(workplace: Workplace, expected: dict[str, Any], tmp_path: Path) -> None:
    two, four = ("FSDP2", "pipeline"), ("HSDP", "tensor × pipeline", "context × tensor")
    groups = [
        (Layout(), [Layout()]),
        (Layout(shard=2), [OF_TWO[name] for name in two]),
        (Layout(shard=4), [OF_FOUR[name] for name in four]),
    ]
    folders = [tmp_path / str(number) for number in range(6)]
    left = iter(folders)
    for start, members in groups:
        plan = [(layout, Trial(end=STEPS, write=next(left))) for layout in members]
        work_together(run_all, plan, workplace, start)
    for start, members in groups:
        plan = [(layout, Trial(end=STEPS + 2, read=folder)) for layout in members for folder in folders]
        for (layout, trial), result in zip(plan, work_together(run_all, plan, workplace, start), strict=True):
            assert result["losses"] == pytest.approx(expected["losses"][STEPS : STEPS + 2], abs=1e-6), (layout, trial)


def test_muon_moves_matrices_that_are_shared_out_to_the_bit_as_whole_ones(workplace: Workplace) -> None:
    assert work_together(muon_steps, None, workplace, Layout(shard=2, tensor=2)) == [True] * 4
