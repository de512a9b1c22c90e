"""The training loop: what it computes, what it refuses, and what it depends on."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.model.arithmetic import flops_per_token
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.build import build_optimizer
from fromscratch.optim.settings import AdamW, Constant, Linear, Muon
from fromscratch.train import loop
from fromscratch.train.loop import Batch, StepReport, training_steps
from fromscratch.train.settings import LoopSettings, PretrainSettings
from fromscratch.train.state import TrainState

torch.set_num_threads(1)

VOCABULARY = 64
SHAPE = DecoderSettings(layers=2, width=32, heads=4, kv_heads=2, ffn_width=64, context_tokens=32)


def settings(**changes: Any) -> LoopSettings:
    return LoopSettings(
        **{
            "steps": 20,
            "batch_sequences": 4,
            "optimizer": AdamW(peak_learning_rate=1e-2),
            "schedule": Linear(warmup_steps=2),
            "precision": "fp32",
            **changes,
        }
    )


def fresh_state(wanted: LoopSettings) -> TrainState:
    decoder = Decoder(SHAPE, VOCABULARY)
    initialise(decoder, 0)
    return TrainState(decoder, build_optimizer(wanted.optimizer, decoder.named_parameters()))


def structured_batch(number: int) -> Batch:
    """Sequences that count upwards in strides of their own: learnable, and other ones in each batch."""
    draw = np.random.default_rng(number)
    start, stride = draw.integers(0, VOCABULARY, (4, 1)), draw.integers(1, 4, (4, 1))
    sequence = torch.from_numpy((start + stride * np.arange(17)) % VOCABULARY)
    return sequence[:, :-1].contiguous(), sequence[:, 1:].contiguous()


def train(
    wanted: LoopSettings, batches: Callable[[int], Batch] = structured_batch
) -> tuple[TrainState, list[StepReport]]:
    state = fresh_state(wanted)
    return state, [report for _, report in training_steps(state, batches, wanted)]


def same_weights(one: TrainState, two: TrainState) -> bool:
    ours, theirs = one.tensors(), two.tensors()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_twenty_steps_give_the_losses_on_record(golden: Any) -> None:
    _, reports = train(settings())
    golden.check("train/losses.json", [report.loss for report in reports])


@pytest.mark.parametrize(
    "optimizer", [AdamW(peak_learning_rate=1e-2), Muon(rest=AdamW(peak_learning_rate=1e-2))], ids=lambda each: each.kind
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_optimiser_learns_in_every_precision(optimizer: AdamW | Muon, precision: str) -> None:
    _, reports = train(settings(optimizer=optimizer, precision=precision, steps=60))
    assert reports[0].loss == pytest.approx(np.log(VOCABULARY), rel=0.02)
    assert np.mean([report.loss for report in reports[-5:]]) < 1.5


def test_weights_and_optimiser_state_stay_in_fp32_under_bf16() -> None:
    state, _ = train(settings(optimizer=Muon(), precision="bf16", steps=2))
    assert {tensor.dtype for tensor in state.tensors().values()} == {torch.float32}


def test_a_report_says_what_the_step_did() -> None:
    _, reports = train(settings(steps=5))
    assert [report.step for report in reports] == [1, 2, 3, 4, 5]
    assert [report.batch for report in reports] == [0, 1, 2, 3, 4]
    assert [report.tokens for report in reports] == [64, 128, 192, 256, 320]
    assert [report.learning_rate for report in reports] == pytest.approx([0.005, 0.01, 0.01, 0.01 * 2 / 3, 0.01 / 3])
    assert all(report.tokens_per_second == pytest.approx(64 / report.seconds) for report in reports)
    assert [report.position for report in reports] == [{"batch": number} for number in range(5)]
    assert all(report.mfu is None for report in reports), "without a peak there is no share of it"


def test_mfu_is_the_models_own_operations_over_the_peak_of_all_processes() -> None:
    wanted = settings(steps=2)
    (_, report), *_ = training_steps(fresh_state(wanted), structured_batch, wanted, peak_flops_per_second=1e9)
    assert report.mfu == pytest.approx(64 * flops_per_token(SHAPE, VOCABULARY, 16) / report.seconds / 1e9)
    model = fresh_state(wanted).model
    model.document_end = 7
    tokens_BT = torch.tensor([[1, 2, 7, 4, 5, 6, 1, 2]])
    lengths = (3, 5)
    expected = sum(each * flops_per_token(SHAPE, VOCABULARY, each) for each in lengths)
    assert loop.batch_flops(model, tokens_BT) == expected < 8 * flops_per_token(SHAPE, VOCABULARY, 8)


def test_the_norms_of_the_parts_are_those_of_their_gradients() -> None:
    model = fresh_state(settings()).model
    model.loss(*structured_batch(0)).backward()
    parts: dict[str, list[torch.Tensor]] = {}
    for name, each in model.named_parameters():
        assert each.grad is not None
        where = "norms" if "norm" in name else next(each for each in loop.PARTS if each in name)
        parts.setdefault(where, []).append(each.grad.flatten().double())
    assert list(parts) == ["embedding", "norms", "attention", "mlp", "head"]
    norms = dict(zip(loop.PARTS, loop.clip_gradients(model, None)[1:].tolist(), strict=True))
    assert norms.pop("positions") == 0  # there is no such part
    assert norms == pytest.approx({part: torch.cat(each).norm().item() for part, each in parts.items()}, rel=1e-5)


def test_memory_is_the_most_that_was_held_so_far() -> None:
    before = loop.peak_memory_bytes(torch.device("cpu"))
    held = torch.ones(40_000_000)
    assert loop.peak_memory_bytes(torch.device("cpu")) >= before
    assert loop.peak_memory_bytes(torch.device("cpu")) > held.nbytes


def test_the_loss_reported_is_that_of_the_weights_before_the_update() -> None:
    wanted = settings(steps=3)
    state = fresh_state(wanted)
    steps = training_steps(state, structured_batch, wanted)
    next(steps)
    with torch.no_grad():
        expected = state.model.loss(*structured_batch(1)).item()
    assert next(steps)[1].loss == pytest.approx(expected, rel=1e-6)


def test_the_time_that_the_caller_takes_is_not_the_steps() -> None:
    wanted = settings(steps=2)
    steps = training_steps(fresh_state(wanted), structured_batch, wanted)
    next(steps)
    time.sleep(0.5)
    assert next(steps)[1].seconds < 0.4


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_micro_batches_add_up_to_the_whole_batch_however_their_targets_are_spread(size: int) -> None:
    tokens_BT, targets_BT = structured_batch(0)
    targets_BT[0] = loop.IGNORED  # with size 1, a micro-batch without any target
    targets_BT[1, 3:] = loop.IGNORED
    whole, parts = fresh_state(settings()).model, fresh_state(settings()).model
    mean = whole.loss(tokens_BT, targets_BT)
    mean.backward()
    scored = int((targets_BT != loop.IGNORED).sum())
    accumulated = loop.accumulate_gradients(parts, tokens_BT, targets_BT, scored, settings(micro_batch_sequences=size))
    assert accumulated.item() == pytest.approx(mean.item(), rel=1e-6)
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-7)


def test_only_positions_with_a_target_count_as_trained_on() -> None:
    def masked(number: int) -> Batch:
        tokens_BT, targets_BT = structured_batch(number)
        targets_BT[:, :10] = loop.IGNORED
        return tokens_BT, targets_BT

    _, reports = train(settings(steps=2), masked)
    assert [report.tokens for report in reports] == [24, 48]


def test_a_batch_without_any_target_is_a_broken_promise() -> None:
    def empty(number: int) -> Batch:
        tokens_BT, targets_BT = structured_batch(number)
        return tokens_BT, torch.full_like(targets_BT, loop.IGNORED)

    with pytest.raises(ValueError, match="without a single target"):
        train(settings(), empty)


def test_gradients_are_clipped_to_the_norm_and_the_norm_before_is_reported() -> None:
    model = fresh_state(settings()).model
    model.loss(*structured_batch(0)).backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    expected = torch.cat([each.flatten() for each in gradients]).double().norm().item()
    assert loop.clip_gradients(model, None)[0].item() == pytest.approx(expected, rel=1e-5)
    assert loop.clip_gradients(model, expected * 2)[0].item() == pytest.approx(expected, rel=1e-5)
    for parameter, before in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, before)
    loop.clip_gradients(model, 0.01)
    for parameter, before in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, before * 0.01 / expected, rtol=1e-3, atol=0)


def test_the_z_loss_reaches_the_model() -> None:
    _, plain = train(settings(steps=2))
    _, with_z = train(settings(steps=2, z_loss=0.1))
    assert with_z[0].loss == pytest.approx(plain[0].loss + 0.1 * np.log(VOCABULARY) ** 2, rel=0.05)


@pytest.mark.parametrize("which", ["loss", "gradient"])
def test_numbers_that_are_none_stop_before_the_update_with_step_and_batch_named(which: str) -> None:
    wanted = settings(steps=5)
    state = fresh_state(wanted)

    def poisoned(number: int) -> Batch:
        if number == 3 and which == "loss":
            state.model.final_norm.weight.data.fill_(float("nan"))
        if number == 3 and which == "gradient":
            state.model.final_norm.weight.register_hook(lambda gradient: gradient * float("inf"))
        return structured_batch(number)

    with pytest.raises(FromScratchError, match="step 4, batch 3: ") as stopped:
        for _ in training_steps(state, poisoned, wanted):
            before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    assert which in stopped.value.message
    assert "learning rate" in stopped.value.hint
    assert state.step == 3
    untouched = [name for name, tensor in state.tensors().items() if torch.equal(tensor, before[name])]
    assert set(before) - set(untouched) <= {"model.final_norm.weight"}


@pytest.mark.parametrize("optimizer", [AdamW(), Muon()], ids=lambda each: each.kind)
def test_nothing_but_the_state_influences_the_next_step(
    optimizer: AdamW | Muon, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(optimizer=optimizer, precision="bf16", steps=6)
    undisturbed, _ = train(wanted)

    def disturbing(number: int) -> Batch:
        torch.manual_seed(number + 77)
        random.seed(number)
        np.random.seed(number)
        torch.rand(number + 1)
        monkeypatch.setattr(os, "getpid", lambda: 4_000_000 + number)
        monkeypatch.setattr(time, "time", lambda: 1e9 * number)
        monkeypatch.setattr(time, "perf_counter", lambda: -1e6 * number * number - random.random())
        monkeypatch.setenv("FROMSCRATCH_ANYTHING", str(number))
        return structured_batch(number)

    disturbed, _ = train(wanted, disturbing)
    assert same_weights(undisturbed, disturbed)


@pytest.mark.parametrize("optimizer", [AdamW(), Muon()], ids=lambda each: each.kind)
def test_a_restored_state_goes_on_bit_for_bit(optimizer: AdamW | Muon) -> None:
    wanted = settings(optimizer=optimizer, steps=6)
    straight, reports = train(wanted)
    state = fresh_state(wanted)
    steps = training_steps(state, structured_batch, wanted)
    for _ in range(3):
        next(steps)
    tensors = {name: tensor.clone() for name, tensor in state.tensors().items()}
    resumed = fresh_state(wanted)
    resumed.restore(tensors, state.facts())
    rest = [report for _, report in training_steps(resumed, structured_batch, wanted)]
    assert same_weights(straight, resumed)
    timeless = {"seconds": 0.0, "tokens_per_second": 0.0, "peak_memory_bytes": 0}
    assert [asdict(each) | timeless for each in rest] == [asdict(each) | timeless for each in reports[3:]]


def test_a_finished_state_takes_no_step() -> None:
    wanted = settings(steps=2)
    state, _ = train(wanted)
    assert list(training_steps(state, structured_batch, wanted)) == []


def test_a_schedule_that_does_not_fit_is_refused_with_its_path() -> None:
    data = {
        "steps": 100,
        "batch_sequences": 1,
        "sequence_tokens": 8,
        "schedule": {"kind": "warmup_stable_decay", "warmup_steps": 90, "decay_share": 0.2},
    }
    with pytest.raises(FromScratchError) as refused:
        validate_settings(PretrainSettings, data, "recipe.toml")
    assert refused.value.message == (
        "recipe.toml: `schedule.warmup_steps` = 90 and 20 steps of decay do not fit into `steps` = 100"
    )
    assert refused.value.hint == "use at most 80 warm-up steps"
    data["schedule"] = Constant(warmup_steps=100).model_dump()
    assert validate_settings(PretrainSettings, data, "recipe.toml").steps == 100
