"""Worker processes: results, errors, deaths, and nobody left behind."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.pool import run_tasks


def test_one_worker_and_one_task_stay_in_this_process() -> None:
    assert list(run_tasks(lambda task: (task, os.getpid()), [1, 2], workers=1)) == [(1, os.getpid()), (2, os.getpid())]
    assert list(run_tasks(lambda task: os.getpid() + task, [0], workers=8)) == [os.getpid()]
    assert list(run_tasks(math.sqrt, [], workers=8)) == []


def test_all_results_come_from_several_workers() -> None:
    assert sorted(run_tasks(math.sqrt, [0, 1, 4, 9, 16], workers=2)) == [0, 1, 2, 3, 4]


def test_an_error_of_a_task_is_raised_here_and_ends_the_workers() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(run_tasks(int, ["1", "two", "3"], workers=2))
    assert multiprocessing.active_children() == []


def test_the_death_of_a_worker_is_said_in_a_sentence() -> None:
    with pytest.raises(FromScratchError, match="a worker process died") as died:
        list(run_tasks(os._exit, [9, 9], workers=2))
    assert "machine.workers=1" in died.value.hint
    assert multiprocessing.active_children() == []


def test_leaving_early_does_not_wait_for_the_others() -> None:
    begun = time.monotonic()
    results = run_tasks(time.sleep, [0.0, 60.0, 60.0], workers=2)
    assert next(results) is None
    results.close()
    assert time.monotonic() - begun < 30
    assert multiprocessing.active_children() == []


HEARTBEAT = """
import time
while True:
    with open({path!r}, "a") as file:
        file.write(".")
    time.sleep(0.02)
"""
PARENT = """
import sys
from fromscratch.core.stopping import stop_at_once
from fromscratch.corpus.pool import run_tasks
if __name__ == "__main__":
    with stop_at_once():
        list(run_tasks(exec, sys.argv[1:], workers=2))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    beats = [tmp_path / "first", tmp_path / "second"]
    command = [sys.executable, str(script), *(HEARTBEAT.format(path=str(beat)) for beat in beats)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        while not all(beat.exists() for beat in beats):
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(number)
        assert parent.wait(timeout=20) != 0
    time.sleep(1)
    sizes = [beat.stat().st_size for beat in beats]
    time.sleep(0.5)
    assert sizes == [beat.stat().st_size for beat in beats], "a worker lives on"
