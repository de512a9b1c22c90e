"""The ledger's chain, the lock on a run, and the two ways of stopping."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger, read_ledger
from fromscratch.core.lock import run_lock
from fromscratch.core.stopping import Stopped, stop_at_once, stop_at_safe_point


def write_three(path: Path) -> bytes:
    with Ledger(path) as ledger:
        for step in range(3):
            ledger.append("step", step=step, loss=2.5 - step)
    return path.read_bytes()


def test_a_ledger_reads_back_in_order_and_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger" / "process-0.jsonl"
    write_three(path)
    with Ledger(path) as ledger:
        ledger.append("end")
    assert [line["kind"] for line in read_ledger(path)] == ["step", "step", "step", "end"]


def test_every_changed_character_breaks_the_chain_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    content = write_three(path)
    for at in range(0, len(content) - 1, 7):
        if content[at : at + 1] == b"\n":
            continue
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        line = content[:at].count(b"\n") + 1
        with pytest.raises(FromScratchError, match=rf"line {line}"):
            list(read_ledger(path))


def test_a_removed_line_breaks_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    lines = write_three(path).splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(FromScratchError, match="line 2"):
        list(read_ledger(path))


def test_a_torn_last_line_is_cut_and_the_cut_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    content = write_three(path)
    path.write_bytes(content[:-10])
    assert len(list(read_ledger(path))) == 2
    with Ledger(path) as ledger:
        ledger.append("end")
    assert [line["kind"] for line in read_ledger(path)] == ["step", "step", "torn", "end"]


def test_a_line_that_did_not_fit_on_the_disk_leaves_the_chain_whole(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    write_three(path)
    with Ledger(path) as ledger:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
            with pytest.raises(OSError):
                ledger.append("lost", text="x" * 100)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        ledger.append("kept")
    assert [line["kind"] for line in read_ledger(path)] == ["step", "step", "step", "kept"]


HOLD = """
import sys, time
from pathlib import Path
from fromscratch.core.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_on_a_locked_directory_is_refused_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for _ in range(2):  # a refusal must not wipe the holder's name
            with (
                pytest.raises(FromScratchError, match=rf"another run is at work here \(process {holder.pid} "),
                run_lock(tmp_path),
            ):
                pass
        holder.kill()
        holder.wait()
    with run_lock(tmp_path):
        pass


def test_a_stop_waits_for_the_safe_point_and_a_second_one_does_not() -> None:
    with stop_at_safe_point() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        assert request
        with pytest.raises(Stopped, match="SIGTERM"):
            request.raise_if_asked()
        with pytest.raises(Stopped, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Stopped), stop_at_once():
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stop_that_python_swallows_is_remembered() -> None:
    class Destroyed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_at_once() as request:
        Destroyed()  # what a destructor raises is printed and dropped
        with pytest.raises(Stopped, match="SIGTERM"):
            request.raise_if_asked()
