"""Training that starts again by itself: after a death, a halt, a hang, an exception; and when it gives up."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger, read_ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.parallel.launch import work_together
from fromscratch.parallel.layout import Layout
from fromscratch.parallel.pulse import KNOWN_AFTER, SLACK_SECONDS, UNKNOWN_SECONDS, Beat
from tests.parallel.work import Accident, step_with_accidents

ONE, TWO = Layout(), Layout(shard=2)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Workplace]:
    with Ledger(tmp_path / "ledger" / "process-0.jsonl") as ledger:
        yield Workplace(Machine(threads=1, device="cpu", restarts=2), ledger)


def kinds(workplace: Workplace) -> list[str]:
    return [line["kind"] for line in read_ledger(workplace.ledger.path)]


@pytest.mark.parametrize("how", ["dies", "breaks"])
@pytest.mark.parametrize("layout", [ONE, TWO], ids=["one process", "two"])
def test_after_a_failure_it_starts_again_and_the_ledger_says_why(
    how: str, layout: Layout, watched: Workplace, tmp_path: Path
) -> None:
    (folder := tmp_path / "attempts").mkdir()
    accident = Accident(folder, how, rank=layout.processes - 1)
    assert work_together(step_with_accidents, accident, watched, layout) == 1
    assert kinds(watched) == ["failed", "restart", "worked"]
    failed = next(read_ledger(watched.ledger.path))
    assert failed["step"] == 7
    expected = {"dies": "died by SIGKILL", "breaks": "ZeroDivisionError: nobody expected this"}[how]
    assert failed["cause"].startswith(f"process {layout.processes - 1} of") and expected in failed["cause"]


@pytest.mark.parametrize(
    ("how", "told"),
    [("is halted", "process 1 of 2 halted by a signal"), ("sleeps", "2 of 2 processes without a sign of life")],
)
def test_a_process_that_does_nothing_is_found_and_named(
    how: str, told: str, watched: Workplace, tmp_path: Path
) -> None:
    (folder := tmp_path / "attempts").mkdir()
    begun = time.monotonic()
    assert work_together(step_with_accidents, Accident(folder, how, rank=1), watched, TWO) == 1
    assert time.monotonic() - begun < 3 * SLACK_SECONDS + 30
    cause = next(read_ledger(watched.ledger.path))["cause"]
    assert cause.startswith(f"{told} in 'step' for ")


def test_what_dies_at_the_same_step_again_and_again_is_given_up(watched: Workplace, tmp_path: Path) -> None:
    (folder := tmp_path / "attempts").mkdir()
    with pytest.raises(FromScratchError, match="process 0 of 1 died by SIGKILL, after step 7, 3 times in a row"):
        work_together(step_with_accidents, Accident(folder, "dies", times=9), watched, ONE)
    assert kinds(watched) == ["failed", "restart", "failed", "restart", "failed"]


def test_an_exception_that_comes_twice_is_not_the_machine_s(watched: Workplace, tmp_path: Path) -> None:
    (folder := tmp_path / "attempts").mkdir()
    with pytest.raises(RuntimeError, match=r"(?s)2 times in a row.*Traceback.*nobody expected this"):
        work_together(step_with_accidents, Accident(folder, "breaks", times=9), watched, ONE)


def test_without_restarts_one_process_is_this_one(workplace: Workplace, tmp_path: Path) -> None:
    (folder := tmp_path / "attempts").mkdir()
    alone = Workplace(Machine(restarts=0), workplace.ledger)
    with pytest.raises(ZeroDivisionError):
        work_together(step_with_accidents, Accident(folder, "breaks"), alone, ONE)


def test_patience_is_learnt_from_each_kind_of_work() -> None:
    beat, now = Beat(since=0.0), 100.0
    assert not beat.hangs(now + UNKNOWN_SECONDS - 101)
    for number in range(KNOWN_AFTER + 1):
        beat.hear("step", number, now)
        now += 2.0
        beat.hear("saving", number, now)
        now += 30.0
    beat.hear("step", 9, now)
    assert beat.patience_seconds() == 3 * 2.0 + SLACK_SECONDS
    assert not beat.hangs(now + 10.9) and beat.hangs(now + 11.1)
    beat.hear("saving", 9, now)
    assert beat.patience_seconds() == 3 * 30.0 + SLACK_SECONDS
    beat.hear("ending", 9, now)
    assert beat.patience_seconds() == UNKNOWN_SECONDS
