"""Memory that runs out is a sentence with the arithmetic of a step, and with what to lower."""

from collections.abc import Callable

import pytest
import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.model.settings import DecoderSettings
from fromscratch.parallel.layout import Layout
from fromscratch.train import memory
from fromscratch.train.settings import PretrainSettings

SHAPE = DecoderSettings(layers=24, width=1024, heads=16, kv_heads=4, ffn_width=2816, context_tokens=2048)
CPU = torch.device("cpu")


def refusal(there: int, monkeypatch: pytest.MonkeyPatch, layout: Layout | None = None) -> FromScratchError:
    settings = PretrainSettings(steps=100, batch_sequences=64, sequence_tokens=2048)
    monkeypatch.setattr(memory, "_bytes_there", lambda *_: there)
    with (
        pytest.raises(FromScratchError) as refused,
        memory.explained_when_memory_runs_out("pretrain", SHAPE, 64_000, settings, CPU, layout or Layout()),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return refused.value


def test_fewer_sequences_at_once_are_named_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(80 * 10**9, monkeypatch)
    assert told.message.startswith("pretrain: memory ran out; a step of 64 × 2,048 tokens at once takes about ")
    for part in ("weights ", "gradients ", "optimiser ", "activations ", "loss ", "there are 80.0"):
        assert part in told.message
    assert told.hint.startswith("set `pretrain.micro_batch_sequences` = ")
    rows = int(told.hint.split(" = ")[1].split(",")[0])
    assert 1 < rows < 64 and float(told.hint.split("about ")[1].split(" ")[0]) <= 0.85 * 80


def test_recomputation_is_named_where_one_sequence_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(8 * 10**9, monkeypatch)
    assert '`pretrain.recompute` = "full"' in told.hint and told.hint.startswith("set ")


def test_where_nothing_fits_the_least_that_would_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(10**9, monkeypatch)
    assert told.hint.startswith("the least that it can do with is ") and "more processes" in told.hint


def test_processes_share_weights_gradients_and_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(told: FromScratchError) -> float:
        return float(told.message.split("weights ")[1].split(",")[0])

    alone, shared = (refusal(80 * 10**9, monkeypatch, layout) for layout in (None, Layout(shard=4)))
    assert weights(shared) == pytest.approx(weights(alone) / 4, abs=0.06)
    assert "a step of 16 × 2,048" in shared.message


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(1 << 60), lambda: bytearray(1 << 60)],
    ids=["torch on the CPU", "Python"],
)
def test_memory_that_really_runs_out_is_recognised(allocate: Callable[[], object]) -> None:
    settings = PretrainSettings(steps=100, batch_sequences=1, sequence_tokens=16)
    with (
        pytest.raises(FromScratchError, match="memory ran out"),
        memory.explained_when_memory_runs_out("pretrain", SHAPE, 100, settings, CPU, Layout()),
    ):
        allocate()


def test_other_errors_keep_their_trace() -> None:
    settings = PretrainSettings(steps=100, batch_sequences=1, sequence_tokens=16)
    with (
        pytest.raises(RuntimeError, match="a broken promise"),
        memory.explained_when_memory_runs_out("pretrain", SHAPE, 100, settings, CPU, Layout()),
    ):
        raise RuntimeError("a broken promise")
