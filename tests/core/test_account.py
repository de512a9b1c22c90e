"""The account of a run: where its time went, in which order things happened, and a ledger that was touched."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fromscratch.cli import main
from fromscratch.core.account import KINDS, account_page, goodput_page, merged_lines, time_spent
from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger

Tell = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten steps of a second: a failure after step 6 with a checkpoint at 4, and a stop after step 8."""
    now = [1000.0]
    monkeypatch.setattr("fromscratch.core.ledger.time.time", lambda: now[0])
    with Ledger(tmp_path / "run" / "ledger" / "process-0.jsonl") as ledger:

        def tell(after: float, kind: str, **facts: object) -> None:
            now[0] += after
            ledger.append(kind, stage="pretrain", **facts)

        def steps(first: int, last: int, seconds: float = 1.0) -> None:
            for number in range(first, last + 1):
                tell(seconds, "step", step=number, seconds=seconds)

        tell(0, "stage", event="begun")
        tell(2, "step", step=1, seconds=1.0)
        steps(2, 4)
        tell(0.5, "checkpoint", step=4)
        steps(5, 6)
        tell(0.7, "failed", cause="process 1 of 2 died by SIGKILL", step=6)
        tell(1, "restart")
        tell(3, "resumed", step=4)
        tell(1.5, "step", step=5, seconds=1.0)
        steps(6, 8)
        tell(0.25, "checkpoint", step=8, waited_seconds=0.05)
        tell(60, "stage", event="resumed")
        tell(4, "resumed", step=8)
        steps(9, 10)
        tell(6, "validation", step=10)
        tell(0.3, "trained")
        tell(0.1, "stage", event="finished")
    with Ledger(tmp_path / "run" / "ledger" / "process-1.jsonl") as ledger:
        now[0] = 1004.0
        ledger.append("step", stage="pretrain", step=3)
    return tmp_path / "run"


def test_every_second_of_a_training_is_accounted_for_once(run: Path) -> None:
    spent = time_spent(run)["pretrain"]
    expected = {"training": 10.0, "checkpoint": 0.55, "restarting": 0.7 + 1 + 3 + 0.5 + 4, "repeating": 2.0}
    expected |= {"evaluating": 6.0, "idle": 1 + 0.2 + 60 + 0.3 + 0.1}
    assert spent.seconds == pytest.approx(expected)
    assert spent.total_seconds == pytest.approx(2 + 3 + 0.5 + 2 + 0.7 + 1 + 3 + 1.5 + 3 + 0.25 + 60 + 4 + 2 + 6 + 0.4)
    assert spent.effective_share == pytest.approx(10 / spent.total_seconds)
    assert (spent.steps, spent.repeated_steps, spent.checkpoints, spent.restarts) == (10, 2, 2, 2)
    assert spent.causes == {"process 1 of 2 died by SIGKILL": 1}


def test_the_page_names_each_kind_and_each_cause(run: Path) -> None:
    page = goodput_page(time_spent(run))
    assert all(kind in page for kind in KINDS)
    assert "1 × process 1 of 2 died by SIGKILL" in page


def test_ledgers_are_merged_by_time_and_steps_are_counted(run: Path) -> None:
    times = [line["time"] for _, line in merged_lines(run)]
    assert times == sorted(times) and len(times) == 24
    page = account_page(merged_lines(run))
    assert "failed               cause process 1 of 2 died by SIGKILL, stage pretrain, step 6" in page
    assert page.endswith("24 lines of 2 processes, every one chained to the one before")


def test_a_changed_character_is_refused_with_its_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "ledger" / "process-0.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[6] = lines[6].replace('"step":5', '"step":9')
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(FromScratchError, match=r"process-0\.jsonl, line 7: the chain is broken"):
        list(merged_lines(run))
    for verb in ("ledger", "goodput"):
        assert main([verb, str(run)]) == 2
        assert "line 7" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["ledger", "goodput"])
def test_a_folder_that_is_no_run_is_refused(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(tmp_path)]) == 2
    assert "no ledger is here" in capsys.readouterr().err
