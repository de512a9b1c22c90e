"""What a ledger tells: steps as they were last taken, times of stages; a changed one is refused."""

from pathlib import Path

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.history import read_times, read_trainings
from fromscratch.core.ledger import Ledger


def step(ledger: Ledger, stage: str, number: int, loss: float) -> None:
    ledger.append(
        "step",
        stage=stage,
        step=number,
        loss=loss,
        gradient_norm=1.0,
        learning_rate=0.1,
        tokens=number * 10,
        seconds=0.5,
    )


def test_steps_done_again_count_once_and_an_abandoned_start_not_at_all(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.append("stage", stage="pretrain", event="begun")
        for number in range(1, 9):
            step(ledger, "pretrain", number, 9.0)  # other settings, discarded by --redo
        ledger.append("stage", stage="pretrain", event="begun")
        for number in range(1, 5):
            step(ledger, "pretrain", number, 5.0)
        ledger.append("stage", stage="pretrain", event="resumed")
        for number in range(3, 7):
            step(ledger, "pretrain", number, 4.0)
        ledger.append("stage", stage="pretrain", event="finished", seconds=2.5, digest="0")
        ledger.append("stage", stage="tune", event="begun")
        step(ledger, "tune", 1, 2.0)
    trainings = read_trainings(tmp_path / "ledger.jsonl")
    assert [(each.step, each.loss) for each in trainings["pretrain"].steps] == [
        (1, 5.0), (2, 5.0), (3, 4.0), (4, 4.0), (5, 4.0), (6, 4.0),
    ]  # fmt: skip
    assert trainings["pretrain"].resumed_at == [3] and trainings["tune"].resumed_at == []
    assert (trainings["pretrain"].tokens, trainings["pretrain"].seconds) == (60, 3.0)


def test_the_time_of_a_stage_counts_what_a_killed_process_did_up_to_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("fromscratch.core.ledger.time.time", lambda: clock[0])
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        for at, event, facts in (
            (100, "begun", {}),
            (900, "begun", {}),  # with other settings: the first attempt does not count
            (1000, "resumed", {}),
            (1030, "finished", {"seconds": 29.5}),
        ):
            clock[0] = float(at)
            ledger.append("stage", stage="pretrain", event=event, **facts)
            if at == 900:
                clock[0] = 960.0
                step(ledger, "pretrain", 1, 5.0)
        ledger.append("stage", stage="tune", event="begun")
    times = read_times(tmp_path / "ledger.jsonl")
    assert list(times) == ["pretrain"]
    assert (times["pretrain"].seconds, times["pretrain"].resumed) == (60 + 29.5, 1)
    assert read_times(tmp_path / "none.jsonl") == {}


def test_a_changed_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        step(ledger, "pretrain", 1, 9.0)
        step(ledger, "pretrain", 2, 8.0)
    path.write_text(path.read_text(encoding="utf-8").replace("9.0", "3.0"), encoding="utf-8")
    with pytest.raises(FromScratchError, match="line 1"):
        read_trainings(path)
