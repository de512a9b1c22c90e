"""Tasks on worker processes of this machine, or on a Ray cluster: a lost worker costs only what it had in hand."""

import contextlib
import multiprocessing
import os
import signal
import textwrap
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Machine

__all__ = ["run_tasks"]

Task = TypeVar("Task")
Result = TypeVar("Result")

DEATHS_ALLOWED = 2  # of workers over one task; a third one is laid to the task


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], machine: Machine
) -> Generator[Result, None, None]:
    """Results of ``function(task)`` as they are done, in any order; in this process for one worker or one task.

    The function is a module's own and its arguments pickle. What it raises is raised here. Closing the generator
    early, also by a signal or an error, ends what is under way. A task whose worker was killed is done again, so it
    must leave nothing half-made behind; FromScratchError names the task that kills every worker it is given to.
    """
    workers = min(machine.worker_count, len(tasks))
    if machine.engine == "ray":
        yield from _ray_engine()(function, tasks, machine)
    elif workers <= 1:
        yield from map(function, tasks)
    else:
        yield from _run_here(function, tasks, workers)


def _ray_engine() -> Callable[..., Generator[Result, None, None]]:
    """Ray is an extra of its own, and 240 MB that one machine has no use for: it is loaded when it is asked for."""
    os.environ.update(  # read when ray is loaded
        RAY_USAGE_STATS_ENABLED="0",  # no telemetry
        RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",  # no upload of the driver's environment
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",  # or it warns of what has changed since
        RAY_IGNORE_UNHANDLED_ERRORS="1",  # of tasks whose results nobody asks for any more
        RAY_DEDUP_LOGS_SKIP_REGEX=".",  # or each lost worker is a paragraph on stdout; Ray's own logs have it
    )
    try:
        from fromscratch.corpus.engine.ray import run_on_ray
    except ModuleNotFoundError as error:
        raise FromScratchError(
            f'`machine.engine` = "ray" needs a package that is not installed ({error.name})',
            'pip install "fromscratch[ray]", with the same versions on every node',
        ) from None
    return run_on_ray


class _Worker:
    """A process that does one task at a time, so that a death is known to be this task's and costs no other."""

    def __init__(self, function: Callable[[Task], Result]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, function), daemon=True)
        with _deaf_to_interrupts():
            self.process.start()
        theirs.close()  # so that a death ends the pipe

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _run_here(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Generator[Result, None, None]:
    waiting = deque(range(len(tasks)))
    deaths: Counter[int] = Counter()
    idle: list[_Worker] = []
    busy: dict[object, tuple[_Worker, int]] = {}  # by their pipes
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker, number = idle.pop() if idle else _Worker(function), waiting.popleft()
                busy[worker.pipe] = worker, number
                with contextlib.suppress(BrokenPipeError):  # it has died, which the pipe's end will tell
                    worker.pipe.send(tasks[number])
            for pipe in wait([worker.pipe for worker, _ in busy.values()]):
                worker, number = busy.pop(pipe)
                try:
                    answer, error = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.end()
                    deaths[number] += 1
                    _refuse_deadly(tasks[number], deaths[number])
                    waiting.appendleft(number)
                    continue
                idle.append(worker)
                if error is not None:
                    raise error
                yield answer
    finally:
        for worker in (*idle, *(each for each, _ in busy.values())):
            worker.end()


def _refuse_deadly(task: Task, deaths: int) -> None:
    if deaths > DEATHS_ALLOWED:
        raise FromScratchError(
            f"{deaths} worker processes died over {textwrap.shorten(str(task), 200)}; killed, or memory ran out",
            "what is finished is kept: run the same command again with fewer workers (--set machine.workers=1), or "
            "leave that file out (the source's `exclude`)",
        )


def _work(pipe: Connection, function: Callable[[Task], Result]) -> None:
    """The whole life of a worker: tasks come in, and a pair of result and error goes out for each."""
    _live_with_parent()
    while True:
        task = pipe.recv()
        answer: tuple[Result | None, Exception | None]
        try:
            answer = function(task), None
        except Exception as error:
            error.add_note(f"in a worker process:\n{traceback.format_exc()}")
            answer = None, error
        pipe.send(answer)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that start within inherit it: Ctrl-C reaches the whole group, and the parent alone answers, to one that
    comes meanwhile as soon as the block ends (ignored, it would be lost)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live_with_parent() -> None:
    """Leave when the parent is gone, even by kill -9: nobody would stop this process, and its files would be in the way
    of the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
