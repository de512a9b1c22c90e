"""The processes of a training: started here and watched, or by torchrun and waited for.

Work is a function of the module level, ``work(job, workplace, ranks)``; job and result are pickled. Process 0 gives the
result. Each process has a ledger of its own beside that of process 0.
"""

import base64
import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed.rendezvous import rendezvous

from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger
from fromscratch.core.stopping import Stopped, StopRequest, stop_at_once, stop_at_safe_point
from fromscratch.core.workplace import Machine, Workplace, available_cores
from fromscratch.model.device import choose_device
from fromscratch.parallel.layout import Layout
from fromscratch.parallel.mesh import ALONE, Ranks, joined

__all__ = ["follow", "release_followers", "work_together"]

Work = Callable[[Any, Workplace, Ranks], Any]
Word = tuple[str, Any]
"""What a process says in the end: ("done", result), ("refused", error), ("stopped", signal) or ("broken", trace)."""

JOB = "job"
GRACE_SECONDS = 5  # for the other processes to say what happened, once one has failed


def work_together(work: Work, job: Any, workplace: Workplace, layout: Layout) -> Any:
    """The result of ``work`` in as many processes as the layout has; in this one alone if that is one.

    Raises what one of them raised: FromScratchError, and Stopped after SIGINT or SIGTERM, which all of them get.
    A process that dies is a FromScratchError that says of what.
    """
    if _is_torchrun():
        _announce(work, job, workplace.machine, workplace.ledger.path, layout)
        return _work_under_torchrun(work, job, workplace, layout)
    if layout == Layout():
        return work(job, workplace, ALONE)
    with workplace.ledger.lent():
        return _work_in_processes(work, job, workplace.machine, workplace.ledger.path, layout)


def follow() -> int:
    """Under torchrun, as another process than 0: wait for work, do it, and return the exit status.

    What there is to say, process 0 says.
    """
    _store().wait([JOB], timedelta(days=365))
    work, job, machine, ledger_path, layout = pickle.loads(base64.b64decode(_store().get(JOB)))
    if work is None:
        return 0
    try:
        with Ledger(_ledger_of(ledger_path, int(os.environ["RANK"]))) as ledger:
            _work_under_torchrun(work, job, Workplace(machine, ledger), layout)
        return 0
    except FromScratchError as error:
        return error.exit_code
    except Stopped as stop:
        return 128 + stop.signal_number


def release_followers() -> None:
    """Let those who still wait for work under torchrun go: there is none, or it is done."""
    if _is_torchrun() and not _store().check([JOB]):
        _announce(None, None, None, None, None)


def _is_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@functools.cache
def _store() -> Store:
    """Where the processes of torchrun meet. After a restart it holds what the dead ones said, under another prefix."""
    store, _, _ = next(iter(rendezvous("env://")))
    return PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _announce(*what: Any) -> None:
    _store().set(JOB, base64.b64encode(pickle.dumps(what)).decode())


def _work_under_torchrun(work: Work, job: Any, workplace: Workplace, layout: Layout) -> Any:
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    machine = _share_of(workplace.machine, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    with joined(_store(), rank, layout, choose_device(machine), local_rank) as ranks:
        return work(job, Workplace(machine, workplace.ledger), ranks)


def _work_in_processes(work: Work, job: Any, machine: Machine, ledger_path: Path, layout: Layout) -> Any:
    count = layout.processes
    # Hosted here, so that it outlives any of them.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")  # loads torch once for all of them
    context.set_forkserver_preload([work.__module__])
    processes: list[BaseProcess] = []
    ears: dict[Connection, int] = {}
    try:
        with stop_at_safe_point() as stop:
            for rank in range(count):
                ear, mouth = context.Pipe(duplex=False)
                what = (rank, store.port, mouth, work, job, _share_of(machine, count), ledger_path, layout)
                process: BaseProcess = context.Process(target=_be_one, args=what, name=f"rank {rank}")
                process.start()
                mouth.close()
                processes.append(process)
                ears[ear] = rank
            said = _listen(processes, ears, stop)
            if len(said) < count:
                stop.raise_if_asked()  # the signal came before a process could hear it
            return _outcome(said, processes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _be_one(
    rank: int, port: int, mouth: Connection, work: Work, job: Any, machine: Machine, ledger: Path, layout: Layout
) -> None:
    os.setpgrp()  # Ctrl-C in the terminal reaches whoever started this, and that tells all
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with stop_at_once():
            result = _work_as(rank, port, work, job, machine, ledger, layout)
        mouth.send(("done", result if rank == 0 else None))
    except FromScratchError as error:
        mouth.send(("refused", error))
    except Stopped as stopped:
        mouth.send(("stopped", stopped.signal_number))
    except BaseException:
        mouth.send(("broken", traceback.format_exc()))
    sys.stdout.flush()
    os._exit(0)  # nothing that a dead neighbour left behind may hold this one up


def _work_as(rank: int, port: int, work: Work, job: Any, machine: Machine, ledger: Path, layout: Layout) -> Any:
    store = PrefixStore("attempt-0", TCPStore("127.0.0.1", port, is_master=False))
    with (
        joined(store, rank, layout, choose_device(machine), rank) as ranks,
        Ledger(_ledger_of(ledger, rank)) as lines,
    ):
        return work(job, Workplace(machine, lines), ranks)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _listen(processes: list[BaseProcess], ears: dict[Connection, int], stop: StopRequest) -> dict[int, Word]:
    """What each process said until all had spoken, or some time after the first that failed; signals are passed on."""
    said: dict[int, Word] = {}
    told = False
    while ears:
        failed = any(kind != "done" for kind, _ in said.values()) or len(said) + len(ears) < len(processes)
        ready = wait(list(ears), timeout=GRACE_SECONDS if failed else 0.2)
        if failed and not ready:
            break
        for ear in ready:
            assert isinstance(ear, Connection)
            rank = ears.pop(ear)
            try:
                said[rank] = ear.recv()
            except EOFError:  # it died
                continue
        if stop and not told:
            told = True
            for process in processes:
                if process.pid is not None and process.is_alive():
                    os.kill(process.pid, stop.signal_number or signal.SIGTERM)
    return said


def _outcome(said: dict[int, Word], processes: list[BaseProcess]) -> Any:
    by_kind = dict(reversed(said.values()))  # the first said; others follow from it
    if "refused" in by_kind:
        raise by_kind["refused"]
    if "stopped" in by_kind:  # one that had not begun to train leaves at once, and the others miss it
        raise Stopped(by_kind["stopped"])
    for rank, process in enumerate(processes):
        if rank not in said:
            process.join(GRACE_SECONDS)
            if process.exitcode:
                cause = signal.Signals(-process.exitcode).name if process.exitcode < 0 else f"status {process.exitcode}"
                raise FromScratchError(
                    f"process {rank} of {len(processes)} died by {cause}",
                    "the same command goes on from the newest checkpoint; if memory ran out, lower "
                    "`pretrain.micro_batch_sequences` first",
                )
    if "broken" in by_kind:
        raise RuntimeError(f"a process of the training failed:\n{by_kind['broken']}")
    return said[0][1]


def _share_of(machine: Machine, processes: int) -> Machine:
    """The machine as one of so many processes on it may use it."""
    return machine.model_copy(update={"threads": machine.threads or max(1, available_cores() // processes)})


def _ledger_of(path: Path, rank: int) -> Path:
    return path if rank == 0 else path.with_name(f"process-{rank}.jsonl")
