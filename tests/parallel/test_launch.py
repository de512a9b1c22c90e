"""Processes that are started and watched: their result, their ledgers, and how each way of failing is told."""

import os
import signal
import time

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import read_ledger
from fromscratch.core.stopping import Stopped
from fromscratch.core.workplace import Workplace
from fromscratch.parallel.launch import work_together
from fromscratch.parallel.layout import Layout
from tests.parallel.work import add, fail, step_until_stopped

TWO = Layout(shard=2)


def test_the_result_is_that_of_process_0_and_each_has_a_ledger(workplace: Workplace) -> None:
    workplace.ledger.append("before")
    assert work_together(add, 10, workplace, TWO) == {"total": 21.0, "told": 0, "threads": 1}
    workplace.ledger.append("after")
    assert [line["kind"] for line in read_ledger(workplace.ledger.path)] == ["before", "worked", "after"]
    other = workplace.ledger.path.with_name("process-1.jsonl")
    assert [line["rank"] for line in read_ledger(other)] == [1]


def test_one_process_is_this_one(workplace: Workplace) -> None:
    assert work_together(add, 10, workplace, Layout())["total"] == 10.0


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("refuses", FromScratchError, "there is a reason"),
        ("breaks", RuntimeError, "ZeroDivisionError: nobody expected this"),
        ("dies", FromScratchError, "process 1 of 2 died by SIGKILL"),
    ],
)
def test_the_failure_of_one_ends_all_and_is_told(
    how: str, kind: type[Exception], message: str, workplace: Workplace
) -> None:
    begun = time.monotonic()
    with pytest.raises(kind, match=message):
        work_together(fail, how, workplace, TWO)
    assert time.monotonic() - begun < 30  # and not the patience of a collective


def test_a_signal_reaches_all_and_they_stop_together(workplace: Workplace) -> None:
    with pytest.raises(Stopped) as stopped:
        work_together(step_until_stopped, os.getpid(), workplace, TWO)
    assert stopped.value.signal_number == signal.SIGTERM
