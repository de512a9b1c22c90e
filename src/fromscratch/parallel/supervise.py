"""Attempts at a training one after another, until one ends it or nothing more is to be hoped for."""

import signal
import time
from typing import Any

from fromscratch.core.errors import FromScratchError
from fromscratch.core.progress import say
from fromscratch.core.stopping import stop_at_safe_point
from fromscratch.core.workplace import Workplace
from fromscratch.parallel.group import Failure, Work, attempt
from fromscratch.parallel.layout import Layout

__all__ = ["supervised"]

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
GLANCE_SECONDS = 0.1


def supervised(work: Work, job: Any, workplace: Workplace, layout: Layout) -> Any:
    """The result of ``work`` by processes of their own, started again as often as ``machine.restarts`` allows.

    What is started again goes on from its newest checkpoint. A failure counts only if no step was finished that had not
    been before; an exception that comes twice there is taken for the program's or the data's, not the machine's. Raises
    what one of the processes raised on purpose, FromScratchError for what died or hung too often, and RuntimeError for
    an exception that repeats itself, each with the evidence.
    """
    furthest, in_vain = -1, 0
    while True:
        try:
            with workplace.ledger.lent():
                return attempt(work, job, workplace.machine, workplace.ledger.path, layout)
        except Failure as failure:
            in_vain = 1 if failure.step > furthest else in_vain + 1
            furthest = max(furthest, failure.step)
            ended = in_vain > workplace.machine.restarts or (failure.trace and in_vain > 1)
            workplace.ledger.append(
                "failed", cause=failure.cause, rank=failure.rank, step=failure.step, trace=failure.trace[-4000:]
            )
            workplace.ledger.sync()
            if ended:
                _give_up(failure, in_vain)
            waited = 0.0 if in_vain == 1 else min(FIRST_WAIT_SECONDS * 2 ** (in_vain - 2), LONGEST_WAIT_SECONDS)
            say(f"warning: {failure.cause}; training starts again from its newest checkpoint")
            _wait(waited)
            workplace.ledger.append("restart", waited_seconds=waited)


def _give_up(failure: Failure, times: int) -> None:
    where = f"after step {failure.step:,}" if failure.step >= 0 else "before its first step"
    often = f", {times} times in a row" if times > 1 else ""
    if failure.trace:
        raise RuntimeError(f"{failure.cause}, {where}{often}\n{failure.trace}") from None
    memory = "; if memory ran out, lower `pretrain.micro_batch_sequences` first"
    raise FromScratchError(
        f"{failure.cause}, {where}{often}",
        "the same command goes on from the newest checkpoint"
        + (memory if failure.cause.endswith(signal.SIGKILL.name) else ""),
    ) from None


def _wait(seconds: float) -> None:
    with stop_at_safe_point() as stop:
        until = time.monotonic() + seconds
        while not stop and time.monotonic() < until:
            time.sleep(GLANCE_SECONDS)
    stop.raise_if_asked()
