"""What a stage may work with and must not depend on: the machine, and the run's ledger."""

import os
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from fromscratch.core.ledger import Ledger
from fromscratch.core.settings import Settings

__all__ = ["Machine", "Workplace"]


class Machine(Settings):
    """How the work is laid out on this machine. Never part of what makes an artifact stale."""

    workers: int | None = Field(default=None, gt=0)
    """Processes for corpus and token work; all cores when absent."""

    threads: int | None = Field(default=None, gt=0)
    """Threads of matrix products in training and evaluation; all cores when absent."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run; `auto` takes the GPU when there is one."""

    @property
    def worker_count(self) -> int:
        return self.workers or available_cores()

    @property
    def thread_count(self) -> int:
        return self.threads or available_cores()


@dataclass(frozen=True)
class Workplace:
    """Handed to every stage."""

    machine: Machine
    ledger: Ledger


def available_cores() -> int:
    """Cores that this process may use (its affinity, where the system tells)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
