"""Engines: results, errors, deaths that cost only what was in hand, and nobody left behind."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.core.stopping import Stopped, stop_at_once
from fromscratch.core.workplace import Machine
from fromscratch.corpus.engine.run import run_tasks

TWO = Machine(workers=2)
ROOT = Path(__file__).parent.parent.parent


def test_one_worker_and_one_task_stay_in_this_process() -> None:
    here = [(1, os.getpid()), (2, os.getpid())]
    assert list(run_tasks(lambda task: (task, os.getpid()), [1, 2], Machine(workers=1))) == here
    assert list(run_tasks(lambda task: os.getpid() + task, [0], Machine(workers=8))) == [os.getpid()]
    assert list(run_tasks(math.sqrt, [], Machine(workers=8))) == []


def test_all_results_come_from_several_workers() -> None:
    assert sorted(run_tasks(math.sqrt, [0, 1, 4, 9, 16], TWO)) == [0, 1, 2, 3, 4]


def test_an_error_of_a_task_is_raised_here_with_its_place_and_ends_the_workers() -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        list(run_tasks(int, ["1", "two", "3"], TWO))
    assert "in a worker process:\nTraceback" in raised.value.__notes__[0]
    assert multiprocessing.active_children() == []


def kill_the_first_worker(path: str) -> str:
    """Dies by a signal, as the kernel kills when memory has run out, unless somebody has died over this path before."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def test_the_death_of_a_worker_costs_only_the_task_that_it_had(tmp_path: Path) -> None:
    deadly = [str(tmp_path / str(number)) for number in range(3)]
    sound = tmp_path / "sound"
    sound.touch()
    assert sorted(run_tasks(kill_the_first_worker, [*deadly, str(sound)], TWO)) == [*deadly, str(sound)]
    assert multiprocessing.active_children() == []


def test_a_task_that_kills_every_worker_is_named() -> None:
    with pytest.raises(FromScratchError, match="3 worker processes died over 9;") as died:
        list(run_tasks(os._exit, [9, 9], TWO))
    assert "machine.workers=1" in died.value.hint
    assert multiprocessing.active_children() == []


def test_leaving_early_does_not_wait_for_the_others() -> None:
    begun = time.monotonic()
    results = run_tasks(time.sleep, [0.0, 60.0, 60.0], TWO)
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
from fromscratch.core.workplace import Machine
from fromscratch.corpus.engine.run import run_tasks
if __name__ == "__main__":
    with stop_at_once():
        list(run_tasks(exec, sys.argv[1:], Machine(workers=2)))
"""


def test_ctrl_c_while_a_worker_starts_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    start = BaseProcess.start

    def interrupted(process: BaseProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        start(process)

    monkeypatch.setattr(BaseProcess, "start", interrupted)
    with pytest.raises(Stopped), stop_at_once():
        list(run_tasks(math.sqrt, [4.0, 9.0], Machine(workers=2)))


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


WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Machine
from fromscratch.corpus.engine.run import run_tasks
try:
    list(run_tasks(abs, [1], Machine(engine="ray")))
except FromScratchError as error:
    print(error)
"""


def test_the_extra_is_named_where_ray_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True, check=True)
    assert 'pip install "fromscratch[ray]"' in done.stdout


def test_an_address_without_ray_is_refused() -> None:
    with pytest.raises(FromScratchError, match="`address`"):
        validate_settings(Machine, {"address": "10.0.0.1:6379"}, "recipe.toml")


CLUSTER = """
import math, os, signal, sys, time
from pathlib import Path
from fromscratch.core.errors import FromScratchError
from fromscratch.core.stopping import Stopped, stop_at_once
from fromscratch.core.workplace import Machine
from fromscratch.corpus.engine.run import run_tasks
from tests.corpus.test_engine import kill_the_first_worker, refuse

folder = Path(sys.argv[1])
machine = Machine(engine="ray", workers=2)
print(sorted(run_tasks(math.sqrt, [0, 1, 4, 9, 16], machine)))
print({str(each) for each in run_tasks(os.path.abspath, ["."] * 3, machine)} == {os.getcwd()})
paths = [str(folder / str(number)) for number in range(3)]
print(sorted(run_tasks(kill_the_first_worker, paths, machine)) == paths)
try:
    list(run_tasks(refuse, [1], machine))
except FromScratchError as error:
    print(type(error).__name__, error.hint)
begun = time.monotonic()
results = run_tasks(time.sleep, [0.0, 60.0, 60.0], machine)
next(results)
results.close()
print(time.monotonic() - begun < 30)
with stop_at_once():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    except Stopped:
        print("stopped")
"""


def refuse(_task: int) -> None:
    raise FromScratchError("refused", "the way out")


@pytest.fixture
def here() -> Iterator[Path]:
    pytest.importorskip("ray")
    yield ROOT


def test_ray_gives_the_same_results_errors_and_deaths_and_says_nothing_of_its_own(here: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CLUSTER, str(tmp_path)], cwd=here, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "[0.0, 1.0, 2.0, 3.0, 4.0]",
        "True",
        "True",
        "FromScratchError the way out",
        "True",
        "stopped",
    ], done.stderr
