"""A training run from start to final weights: stops, damage, full disks, and what it tells the ledger."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fromscratch.checkpoint.store import Checkpoint, save_checkpoint
from fromscratch.core.errors import FromScratchError
from fromscratch.core.history import read_trainings
from fromscratch.core.ledger import Ledger, read_ledger
from fromscratch.core.stopping import Stopped
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import load_model
from fromscratch.model.initial import initialise
from fromscratch.model.initialisation import MuP
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.settings import AdamW, Constant, Muon
from fromscratch.train.loop import Batch
from fromscratch.train.run import train_to_end
from fromscratch.train.settings import LoopSettings

torch.set_num_threads(1)

VOCABULARY = 40
SHAPE = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=16)
SETTINGS = LoopSettings(
    steps=12, batch_sequences=2, optimizer=Muon(), schedule=Constant(), checkpoint_every_steps=4, keep_checkpoints=2
)
Disturb = Callable[[int], None]


def nothing(_number: int) -> None:
    pass


def train(
    run: Path, disturb: Disturb = nothing, settings: LoopSettings = SETTINGS, shape: DecoderSettings = SHAPE
) -> dict[str, Any]:
    """One call as the pipeline makes it; ``disturb`` is called in each step with the number of its batch."""

    def batches(number: int) -> Batch:
        disturb(number)
        sequences = torch.randint(0, VOCABULARY, (2, 13), generator=torch.Generator().manual_seed(number))
        return sequences[:, :-1], sequences[:, 1:]

    decoder = Decoder(shape, VOCABULARY)
    initialise(decoder, 0)
    draft = run / "draft"
    draft.mkdir(parents=True, exist_ok=True)
    with Ledger(run / "ledger.jsonl") as ledger:
        workplace = Workplace(Machine(threads=1, device="cpu"), ledger)
        return train_to_end(draft, decoder, batches, settings, workplace, "pretrain")


def lines(run: Path, kind: str) -> list[Mapping[str, Any]]:
    return [line for line in read_ledger(run / "ledger.jsonl") if line["kind"] == kind]


def files(run: Path) -> dict[str, bytes]:
    draft = run / "draft"
    return {each.relative_to(draft).as_posix(): each.read_bytes() for each in draft.rglob("*") if each.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    train(run)
    return run


def raise_signal_at(batch: int, number: int) -> Disturb:
    return lambda at: os.kill(os.getpid(), number) if at == batch else None


def test_a_run_leaves_the_weights_alone_and_they_load(undisturbed: Path) -> None:
    assert set(files(undisturbed)) == {"model.json", "model.safetensors"}
    decoder = load_model(undisturbed / "draft")
    start = Decoder(SHAPE, VOCABULARY)
    initialise(start, 0)
    assert not torch.equal(decoder.embedding.weight, start.embedding.weight)


def test_the_ledger_tells_every_step_and_every_checkpoint_with_its_place_in_the_data(undisturbed: Path) -> None:
    steps = lines(undisturbed, "step")
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert {"loss", "gradient_norm", "learning_rate", "tokens", "seconds", "batch", "stage"} < set(steps[0])
    assert [line["position"] for line in steps] == [{"batch": number} for number in range(12)]
    assert all(0 < line["mfu"] < 1 and line["peak_memory_bytes"] > 1e6 for line in steps)
    parts = [sum(norm**2 for norm in line["gradient_norms"].values()) ** 0.5 for line in steps]
    assert parts == pytest.approx([line["gradient_norm"] for line in steps], rel=1e-5)
    (peak,) = lines(undisturbed, "peak")
    assert peak["flops_per_second"] > 1e9
    saved = lines(undisturbed, "checkpoint")
    assert [(line["step"], line["position"]) for line in saved] == [(4, {"batch": 4}), (8, {"batch": 8})]
    assert all(len(line["digest"]) == 64 for line in saved)
    assert [line["kind"] for line in read_ledger(undisturbed / "ledger.jsonl")][-1] == "trained"


def test_the_facts_sum_up_the_run(tmp_path: Path) -> None:
    facts = train(tmp_path)
    history = read_trainings(tmp_path / "ledger.jsonl")["pretrain"].steps
    assert (facts["steps"], facts["tokens"], facts["threads"], facts["precision"]) == (12, 12 * 24, 1, "bf16")
    assert facts["final_loss"] == history[-1].loss
    assert facts["seconds"] == pytest.approx(sum(line.seconds for line in history), abs=1e-3)
    assert facts["tokens_per_second"] == pytest.approx(facts["tokens"] / facts["seconds"], rel=0.05)


def test_under_mup_matrices_of_twice_the_base_width_learn_half_as_fast(tmp_path: Path) -> None:
    shape = SHAPE.model_copy(update={"parametrisation": MuP(base_width=8)})
    optimizer = AdamW(peak_learning_rate=0.01, weight_decay=0.0)
    train(tmp_path, settings=SETTINGS.model_copy(update={"steps": 1, "optimizer": optimizer}), shape=shape)
    trained, start = load_model(tmp_path / "draft"), Decoder(shape, VOCABULARY)
    initialise(start, 0)
    for name, rate in (("embedding", 0.01), ("layers.0.mlp.down", 0.005), ("layers.0.mlp_norm", 0.01), ("head", 0.005)):
        moved = trained.get_submodule(name).weight - start.get_submodule(name).weight
        assert moved.abs().max().item() == pytest.approx(rate, rel=1e-3), name  # as far as Adam's first step goes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_finishes_the_step_saves_and_the_same_call_ends_with_the_same_weights(
    tmp_path: Path, undisturbed: Path, number: signal.Signals
) -> None:
    with pytest.raises(Stopped) as stopped:
        train(tmp_path, raise_signal_at(5, number))
    assert stopped.value.signal_number == number
    assert [line["step"] for line in lines(tmp_path, "step")] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines(tmp_path, "checkpoint")] == [4, 6]
    trained: list[int] = []
    train(tmp_path, trained.append)
    assert trained == list(range(6, 12))
    assert files(tmp_path) == files(undisturbed)
    resumed = lines(tmp_path, "resumed")
    assert [(line["step"], line["position"]) for line in resumed] == [(6, {"batch": 6})]
    assert resumed[0]["checkpoint"] == lines(tmp_path, "checkpoint")[1]["digest"]


@pytest.mark.parametrize("batch", [0, 11], ids=["the first", "the last"])
def test_a_stop_in_the_first_or_last_step_changes_nothing(tmp_path: Path, undisturbed: Path, batch: int) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, raise_signal_at(batch, signal.SIGTERM))
    facts = train(tmp_path)
    assert files(tmp_path) == files(undisturbed)
    assert facts["steps"] == 12


def test_a_failure_in_a_step_loses_at_most_what_came_after_the_checkpoint(tmp_path: Path, undisturbed: Path) -> None:
    def fail(number: int) -> None:
        if number == 10:
            raise RuntimeError("a broken promise")

    with pytest.raises(RuntimeError, match="a broken promise"):
        train(tmp_path, fail)
    trained: list[int] = []
    train(tmp_path, trained.append)
    assert trained == [8, 9, 10, 11]
    assert files(tmp_path) == files(undisturbed)
    told, straight = (read_trainings(each / "ledger.jsonl")["pretrain"].steps for each in (tmp_path, undisturbed))
    assert [(line.step, line.loss) for line in told] == [(line.step, line.loss) for line in straight]
    assert len(lines(tmp_path, "step")) == 14  # the two that were done again are still on record


def test_a_damaged_checkpoint_is_set_aside_on_record_and_the_one_before_gives_the_same_weights(
    tmp_path: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, raise_signal_at(9, signal.SIGTERM))
    path = tmp_path / "draft" / "checkpoints" / "step-00000010" / "__0_0.distcp"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    trained: list[int] = []
    train(tmp_path, trained.append)
    assert trained[0] == 8
    damaged = lines(tmp_path, "checkpoint_damaged")
    assert [(line["step"], line["moved_to"]) for line in damaged] == [(10, "damaged-step-00000010")]
    assert "digest differs" in damaged[0]["reason"]
    assert "the checkpoint of step 10 is damaged" in capsys.readouterr().err
    assert files(tmp_path) == files(undisturbed)


def test_a_disk_that_is_full_for_a_while_costs_a_checkpoint_and_nothing_else(
    tmp_path: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(number: int) -> None:  # for any file as long as a checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000 if 2 <= number < 6 else soft, hard))

    try:
        train(tmp_path, fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    failed = lines(tmp_path, "checkpoint_failed")
    assert [line["step"] for line in failed] == [4]
    assert "File too large" in failed[0]["reason"]
    assert [line["step"] for line in lines(tmp_path, "checkpoint")] == [8]
    assert "no checkpoint at step 4, and training goes on" in capsys.readouterr().err
    assert files(tmp_path) == files(undisturbed)


def test_old_checkpoints_go_while_training(tmp_path: Path) -> None:
    seen: set[tuple[str, ...]] = set()

    def look(_number: int) -> None:
        time.sleep(0.2)  # for the save under way
        seen.add(tuple(sorted(each.name for each in (tmp_path / "draft").glob("checkpoints/step-*"))))

    train(tmp_path, look, SETTINGS.model_copy(update={"checkpoint_every_steps": 3}))
    assert ("step-00000006", "step-00000009") in seen
    assert max(map(len, seen)) <= 3  # the oldest goes when the newest is known to be there


def test_the_loop_waits_for_a_copy_and_not_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last_batch = threading.Event()

    def slowly(*arguments: Any) -> Checkpoint:
        assert last_batch.wait(60), "training waited for the disk"
        return save_checkpoint(*arguments)

    def look(number: int) -> None:
        if number == SETTINGS.steps - 1:
            last_batch.set()

    monkeypatch.setattr("fromscratch.checkpoint.background.save_checkpoint", slowly)
    train(tmp_path, look, SETTINGS.model_copy(update={"checkpoint_every_steps": 8}))
    assert [line["step"] for line in lines(tmp_path, "checkpoint")] == [8]


def test_a_disk_slower_than_the_interval_slows_training_and_loses_nothing(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*arguments: Any) -> Checkpoint:
        time.sleep(0.2)
        return save_checkpoint(*arguments)

    monkeypatch.setattr("fromscratch.checkpoint.background.save_checkpoint", slowly)
    train(tmp_path)
    assert [line["step"] for line in lines(tmp_path, "checkpoint")] == [4, 8]
    weights = [run / "draft" / "model.safetensors" for run in (tmp_path, undisturbed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_run_that_had_ended_when_its_process_died_is_not_trained_again(tmp_path: Path) -> None:
    facts = train(tmp_path)
    trained: list[int] = []
    assert train(tmp_path, trained.append) == facts
    assert trained == []


def test_weights_that_the_ledger_does_not_vouch_for_are_trained_again(tmp_path: Path, undisturbed: Path) -> None:
    train(tmp_path)
    path = tmp_path / "draft" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    train(tmp_path)
    assert files(tmp_path) == files(undisturbed)


def test_a_gpu_that_is_not_there_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    decoder = Decoder(SHAPE, VOCABULARY)
    with Ledger(tmp_path / "ledger.jsonl") as ledger, pytest.raises(FromScratchError, match=r"`machine\.device`"):
        workplace = Workplace(Machine(threads=1, device="cuda"), ledger)
        train_to_end(tmp_path, decoder, lambda _: pytest.fail("trained"), SETTINGS, workplace, "pretrain")


def test_the_history_holds_each_step_once_and_only_of_its_stage(tmp_path: Path) -> None:
    def step(ledger: Ledger, stage: str, number: int, loss: float) -> None:
        ledger.append(
            "step", stage=stage, step=number, loss=loss, gradient_norm=1.0, learning_rate=0.1, tokens=8, seconds=0.5
        )

    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        for number in (1, 2, 3, 4, 5):
            step(ledger, "pretrain", number, 10.0 + number)
        step(ledger, "tune", 1, 99.0)
        ledger.append("resumed", stage="pretrain", step=2)
        for number in (3, 4):
            step(ledger, "pretrain", number, 20.0 + number)
    history = read_trainings(tmp_path / "ledger.jsonl")["pretrain"].steps
    assert [(line.step, line.loss) for line in history] == [(1, 11.0), (2, 12.0), (3, 23.0), (4, 24.0)]
    assert np.isclose([line.loss for line in read_trainings(tmp_path / "ledger.jsonl")["tune"].steps], [99.0]).all()


def test_recomputing_is_a_setting_that_changes_no_weight(tmp_path: Path, undisturbed: Path) -> None:
    train(tmp_path, settings=SETTINGS.model_copy(update={"recompute": "full"}))
    assert files(tmp_path) == files(undisturbed)
