"""Processor time of this process and of all its children, those that still run among them."""

import os
import resource
from pathlib import Path

__all__ = ["cpu_seconds"]

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Seconds of user and system time since the start; of living children to a hundredth of a second (Linux)."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + _living(os.getpid())


def _living(parent: int) -> float:
    seconds = 0.0
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            # After the name, which may hold anything: state, then numbers; user and system time, own and of the ended.
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            seconds += sum(map(int, fields[11:15])) / TICKS + _living(int(child))
    return seconds
