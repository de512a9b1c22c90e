"""Tasks on a Ray cluster: what a lost worker or node had in hand is done again on another."""

import os
import signal
import socket
import textwrap
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from fromscratch.core.artifact import code_digest
from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Machine

__all__ = ["run_on_ray"]

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 20  # of one task: more nodes are not lost over one shard, but a task may kill every worker it is given to
AHEAD = 2  # tasks for each core of the cluster: none waits for the driver, and millions do not fill its memory
CONNECT_SECONDS = 20.0
OBJECT_STORE_BYTES = 100_000_000  # of a Ray started here: tasks and results are small, pages never travel


class Origin(NamedTuple):
    """What a worker must share with the driver for the result to be the same."""

    code: str
    arrow: str
    folder: str


def run_on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], machine: Machine
) -> Generator[Result, None, None]:
    """Results of ``function(task)`` as they are done, from the cluster at ``machine.address``.

    Nodes share a file system, the command's folder is at the same path on all, and so is the code. Errors of the
    function are raised here; a lost worker or node is not an error. Raises FromScratchError for a cluster that is not
    there, a node that is not like the driver, and a task that kills its workers.
    """
    _connect(machine)
    call = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
    origin = ray.put(_origin())
    waiting = iter(tasks)
    under_way: dict[Any, Task] = {}
    try:
        while True:
            while len(under_way) < (machine.workers or AHEAD * _cores()) and (task := next(waiting, None)) is not None:
                under_way[call.remote(function, task, origin)] = task
            if not under_way:
                return
            finished, _ = ray.wait(list(under_way), num_returns=1)
            yield _result(finished[0], under_way.pop(finished[0]))
    finally:
        for reference in under_way:
            ray.cancel(reference, force=True)


def _result(reference: Any, task: Task) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise FromScratchError(
            f"the cluster gave up on {textwrap.shorten(str(task), 200)} ({str(error).splitlines()[0]})",
            "what is finished is kept: run the same command again, or leave that file out (the source's `exclude`)",
        ) from None


def _cores() -> int:
    """Of the whole cluster now: nodes come and go."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _connect(machine: Machine) -> None:
    """Join the cluster, once for each process; without an address, start Ray on this machine."""
    if ray.is_initialized():
        return
    settings: dict[str, Any] = {"address": machine.address or "local", "log_to_driver": False, "logging_level": "ERROR"}
    if machine.address is None:
        settings |= {"num_cpus": machine.worker_count, "object_store_memory": OBJECT_STORE_BYTES}
        settings |= {"include_dashboard": False}
    _refuse_silence(machine.address)
    is_main = threading.current_thread() is threading.main_thread()
    stopping = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(machine.address, error) from None
    finally:
        if is_main:  # ray.init puts a handler of its own over ours
            signal.signal(signal.SIGTERM, stopping)


def _refuse_silence(address: str | None) -> None:
    """Ray itself would ask an address where nobody listens for many minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit() and "//" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> FromScratchError:
    return FromScratchError(
        f"`machine.address` = {address!r}: no Ray cluster answers ({str(error).splitlines()[0]})",
        "start one with `ray start --head` here and `ray start --address=HOST:6379` on the other nodes; "
        "without an address, Ray is started on this machine alone",
    )


def _origin() -> Origin:
    return Origin(code_digest(), pa.__version__, str(Path.cwd()))


def _call(function: Callable[[Task], Result], task: Task, origin: Origin) -> Result:
    """The function, on a node that is found to be like the driver, in the driver's folder: paths are relative to it."""
    node = socket.gethostname()
    try:
        os.chdir(origin.folder)
    except OSError:
        raise FromScratchError(
            f"node {node} has no folder {origin.folder}",
            "run the command in a folder on a file system that all nodes share, at the same path",
        ) from None
    if _origin()[:2] != origin[:2]:
        raise FromScratchError(
            f"node {node} has another version of fromscratch or of pyarrow, and would write other bytes",
            "install the same versions on every node",
        )
    return function(task)
