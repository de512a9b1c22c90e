"""The pulse of a process in training, and how long it may stay away before the process is taken to hang."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from fromscratch.core.progress import say

__all__ = ["Beat", "Pulse", "unheard", "watched_from_within"]

Pulse = Callable[[str, int], None]
"""Told by the loop what it is about to do, such as ``step`` or ``saving``, and how many steps are finished."""

USUAL_OF = 50  # of the last durations of a kind
KNOWN_AFTER = 3
TIMES, SLACK_SECONDS = 3.0, 5.0
GLANCE_SECONDS = 0.2
HUNG = 75  # the status of a process that ends itself: EX_TEMPFAIL, which asks to be started again
UNKNOWN_SECONDS = 1800.0  # loading, compiling, a first save: nobody knows yet


def unheard(_doing: str, _step: int) -> None:
    """The pulse of a process that nobody listens to."""


@dataclass
class Beat:
    """What is known of one process: what it does, since when, and how long it usually takes."""

    doing: str = "starting"
    step: int = -1
    """Steps finished; -1 before it has said so."""
    since: float = field(default_factory=time.monotonic)
    _seconds: dict[str, deque[float]] = field(default_factory=dict)

    def hear(self, doing: str, step: int, now: float) -> None:
        """It has ended what it did, and begins something."""
        self._seconds.setdefault(self.doing, deque(maxlen=USUAL_OF)).append(now - self.since)
        self.doing, self.step, self.since = doing, step, now

    def patience_seconds(self) -> float:
        """What it does now may take three times as long as is usual, and five seconds more."""
        known = self._seconds.get(self.doing, ())
        return TIMES * median(known) + SLACK_SECONDS if len(known) >= KNOWN_AFTER else UNKNOWN_SECONDS

    def hangs(self, now: float) -> bool:
        return now - self.since > self.patience_seconds()


@contextmanager
def watched_from_within(name: str) -> Iterator[Pulse]:
    """Within the block a thread ends this process when it hangs, for torchrun, which then starts all of them again.

    Time in which the thread itself did not run, as in a process that a signal has halted, counts for nothing.
    """
    beat, ended = Beat(), threading.Event()

    def watch() -> None:
        looked = time.monotonic()
        while not ended.wait(GLANCE_SECONDS):
            now = time.monotonic()
            if now - looked > 10 * GLANCE_SECONDS:
                beat.since = now
            elif beat.hangs(now):
                say(f"warning: {name} hangs in {beat.doing!r} for {now - beat.since:.1f} s, and ends itself")
                os._exit(HUNG)
            looked = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda doing, step: beat.hear(doing, step, time.monotonic())
    finally:
        ended.set()
        thread.join()
