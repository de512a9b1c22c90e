"""Tasks on worker processes, which end with their parent; a death of one is said in words, a stop ends all at once."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from fromscratch.core.errors import FromScratchError

__all__ = ["run_tasks"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Generator[Result, None, None]:
    """Results of ``function(task)`` as they are done, in any order; in this process for one worker or one task.

    The function is a module's own and its arguments pickle. What it raises is raised here. Closing the generator
    early, also by a signal or an error, kills the workers. Raises FromScratchError when a worker dies.
    """
    if min(workers, len(tasks)) <= 1:
        yield from map(function, tasks)
        return
    before = multiprocessing.active_children()
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)), mp_context=multiprocessing.get_context("spawn"), initializer=_live_with_parent
    )
    try:
        with _ignoring_interrupts():
            futures = [pool.submit(function, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise FromScratchError(
            "a worker process died; it was killed, or memory ran out",
            "what is finished is kept: run the same command again, with fewer workers (--set machine.workers=1)",
        ) from None
    finally:
        for child in multiprocessing.active_children():
            if child not in before:
                child.kill()
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes that start within inherit it: Ctrl-C reaches the whole group, and the parent alone answers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _live_with_parent() -> None:
    """Leave when the parent is gone, even by kill -9: nobody would stop this process, and its files would be in the way
    of the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
