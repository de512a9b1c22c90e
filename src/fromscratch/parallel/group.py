"""The processes of one attempt at a training: started here, listened to, and ended together.

Each tells what it does and what came of it: ("beat", (doing, step)) again and again, and last of all ("done", result),
("refused", error), ("stopped", signal) or ("broken", trace).
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import TCPStore

from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger
from fromscratch.core.stopping import Stopped, StopRequest, stop_at_once, stop_at_safe_point
from fromscratch.core.workplace import Machine, Workplace, available_cores
from fromscratch.model.device import choose_device
from fromscratch.parallel.layout import Layout
from fromscratch.parallel.mesh import ALONE, Ranks, joined
from fromscratch.parallel.pulse import Beat

__all__ = ["Failure", "Work", "attempt", "ledger_of", "share_of"]

Work = Callable[[Any, Workplace, Ranks], Any]
Word = tuple[str, Any]

GRACE_SECONDS = 5  # for the other processes to say what happened, once one has failed
GLANCE_SECONDS = 0.2  # between two looks at signals and at who hangs


class Failure(Exception):
    """An attempt came to nothing: ``cause`` in words, of which rank, after how many finished steps, and the trace if a
    process left one."""

    def __init__(self, cause: str, rank: int | None, step: int, trace: str = "") -> None:
        super().__init__(cause)
        self.cause, self.rank, self.step, self.trace = cause, rank, step, trace


def attempt(work: Work, job: Any, machine: Machine, ledger: Path, layout: Layout) -> Any:
    """The result of process 0, once all are done. The ledger's file must not be open here meanwhile.

    Raises Failure when one died, hung or broke, and what they raised on purpose: FromScratchError, and Stopped after a
    signal to this process, which all of them are sent.
    """
    # Hosted here, so that it outlives any of them.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")  # loads torch once for all of them
    context.set_forkserver_preload([work.__module__])
    group = _Group()
    try:
        with stop_at_safe_point() as stop:
            for rank in range(layout.processes):
                ear, mouth = context.Pipe(duplex=False)
                what = (rank, store.port, mouth, work, job, share_of(machine, layout.processes), ledger, layout)
                process: BaseProcess = context.Process(target=_be_one, args=what, name=f"rank {rank}")
                try:
                    process.start()
                except (EOFError, OSError) as error:  # the server of forks has died; the next attempt has a new one
                    raise Failure(f"process {rank} of {layout.processes} did not start", rank, -1) from error
                finally:
                    mouth.close()
                group.add(process, ear)
            group.listen(stop)
            if len(group.said) < layout.processes:
                stop.raise_if_asked()  # the signal came before a process could hear it
            return group.outcome()
    finally:
        group.end()


class _Group:
    """What is known of the processes, by rank."""

    def __init__(self) -> None:
        self.processes: list[BaseProcess] = []
        self.beats: list[Beat] = []
        self.said: dict[int, Word] = {}
        self.hung: str | None = None
        self._ears: dict[Connection, int] = {}

    def add(self, process: BaseProcess, ear: Connection) -> None:
        self._ears[ear] = len(self.processes)
        self.processes.append(process)
        self.beats.append(Beat())

    def listen(self, stop: StopRequest) -> None:
        """Until all have said their last, some time after the first that failed, or until one hangs."""
        told = False
        while self._ears and self.hung is None:
            failed = any(kind != "done" for kind, _ in self.said.values())
            failed |= len(self.said) + len(self._ears) < len(self.processes)
            ready = wait(list(self._ears), timeout=GRACE_SECONDS if failed else GLANCE_SECONDS)
            if failed and not ready:
                return
            for ear in ready:
                assert isinstance(ear, Connection)
                self._hear(ear)
            if stop and not told:
                told = True
                for process in self.processes:
                    if process.pid is not None and process.is_alive():
                        os.kill(process.pid, stop.signal_number or signal.SIGTERM)
            if not failed:
                self._look_for_a_hang()

    def _hear(self, ear: Connection) -> None:
        rank = self._ears[ear]
        try:
            kind, what = ear.recv()
        except (EOFError, OSError):  # it died, perhaps in the middle of a word
            del self._ears[ear]
            return
        if kind == "beat":
            doing, step = what
            self.beats[rank].hear(doing, step, time.monotonic())
        else:
            del self._ears[ear]
            self.said[rank] = (kind, what)

    def _look_for_a_hang(self) -> None:
        """Who waits for a process is as late as that one, which is known by its state or by having done less."""
        now = time.monotonic()
        if not any(self.beats[rank].hangs(now) for rank in self._ears.values()):
            return
        halted = [rank for rank, process in enumerate(self.processes) if _is_halted(process)]
        behind = [rank for rank, beat in enumerate(self.beats) if beat.step == min(each.step for each in self.beats)]
        late = halted or behind
        beat, of = self.beats[late[0]], f"of {len(self.processes)}"
        who = f"process {late[0]} {of}" if len(late) == 1 else f"{len(late)} {of} processes"
        what = "halted by a signal" if halted else "without a sign of life"
        self.hung = f"{who} {what} in {beat.doing!r} for {now - beat.since:.1f} s"

    @property
    def step(self) -> int:
        return max(each.step for each in self.beats)

    def outcome(self) -> Any:
        by_kind = dict(reversed(self.said.values()))  # the first said; others follow from it
        if "refused" in by_kind:
            raise by_kind["refused"]
        if "stopped" in by_kind:  # one that had not begun to train leaves at once, and the others miss it
            raise Stopped(by_kind["stopped"])
        if self.hung is not None:
            raise Failure(self.hung, None, self.step)
        for rank, process in enumerate(self.processes):
            if rank not in self.said:
                process.join(GRACE_SECONDS)
                if process.exitcode:
                    code = process.exitcode
                    cause = signal.Signals(-code).name if code < 0 else f"status {code}"
                    raise Failure(f"process {rank} of {len(self.processes)} died by {cause}", rank, self.step)
        for rank, (kind, trace) in self.said.items():
            if kind == "broken":
                last = trace.strip().rpartition("\n")[2]
                raise Failure(f"process {rank} of {len(self.processes)} failed: {last}", rank, self.step, trace)
        return self.said[0][1]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def _is_halted(process: BaseProcess) -> bool:
    """Whether the system says that a signal stopped it."""
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].startswith(("T", "t"))
    except OSError:
        return False


def _be_one(
    rank: int, port: int, mouth: Connection, work: Work, job: Any, machine: Machine, ledger: Path, layout: Layout
) -> None:
    os.setpgrp()  # Ctrl-C in the terminal reaches whoever started this, and that tells all
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def beat(doing: str, step: int) -> None:
        with contextlib.suppress(BrokenPipeError):
            mouth.send(("beat", (doing, step)))

    try:
        with stop_at_once(), _as_one_of(layout, rank, port, machine) as ranks, Ledger(ledger_of(ledger, rank)) as lines:
            result = work(job, Workplace(machine, lines), ranks.heard_by(beat))
        mouth.send(("done", result if rank == 0 else None))
    except FromScratchError as error:
        mouth.send(("refused", error))
    except Stopped as stopped:
        mouth.send(("stopped", stopped.signal_number))
    except BaseException:
        mouth.send(("broken", traceback.format_exc()))
    sys.stdout.flush()
    os._exit(0)  # nothing that a dead neighbour left behind may hold this one up


def _as_one_of(layout: Layout, rank: int, port: int, machine: Machine) -> contextlib.AbstractContextManager[Ranks]:
    if layout == Layout():
        return contextlib.nullcontext(ALONE)
    return joined(TCPStore("127.0.0.1", port, is_master=False), rank, layout, choose_device(machine), rank)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def share_of(machine: Machine, processes: int) -> Machine:
    """The machine as one of so many processes on it may use it."""
    return machine.model_copy(update={"threads": machine.threads or max(1, available_cores() // processes)})


def ledger_of(path: Path, rank: int) -> Path:
    """Where a process keeps its ledger, beside that of process 0."""
    return path if rank == 0 else path.with_name(f"process-{rank}.jsonl")
