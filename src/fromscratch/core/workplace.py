"""What a stage may work with and must not depend on: the machine, and the run's ledger."""

import os
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from fromscratch.core.ledger import Ledger
from fromscratch.core.settings import Settings, refuse

__all__ = ["Machine", "Parallel", "Workplace"]


class Parallel(Settings):
    """How the processes of a training share its work; their product is the number of processes."""

    replicate: int = Field(default=1, gt=0)
    """Groups of processes that each hold all of the weights and take other sequences of the batch."""

    shard: int | None = Field(default=None, gt=0)
    """Processes that share out the weights among themselves and take other sequences (FSDP); what is left if absent."""

    context: int = Field(default=1, gt=0)
    """Processes that share out the positions of each sequence, and the heads within attention."""

    tensor: int = Field(default=1, gt=0)
    """Processes that share out each matrix of a layer."""

    pipeline: int = Field(default=1, gt=0)
    """Processes that hold the layers one after the other."""


class Machine(Settings):
    """How the work is laid out on this machine. Never part of what makes an artifact stale."""

    workers: int | None = Field(default=None, gt=0)
    """Processes for corpus and token work; all cores when absent."""

    threads: int | None = Field(default=None, gt=0)
    """Threads of matrix products in training and evaluation; all cores when absent."""

    engine: Literal["embedded", "ray"] = "embedded"
    """Where corpus work runs: in processes of this machine, or on a Ray cluster. The result is the same."""

    address: str | None = Field(default=None, min_length=1)
    """Of the Ray cluster: `auto` for the one that this machine is in, or `HOST:6379`. Absent, Ray is started here."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run; `auto` takes the GPU when there is one."""

    processes: int = Field(default=1, gt=0)
    """Processes that pretraining starts on this machine. Under torchrun, its own number holds."""

    restarts: int = Field(default=3, ge=0)
    """How often in a row training starts again by itself when a process dies, hangs or fails before it has finished one
    step more than before. With 0 and one process, it runs in the process of the command, and nobody watches it."""

    parallel: Parallel = Parallel()
    """How the processes of pretraining share its work."""

    profile_steps: int | None = Field(default=None, gt=0)
    """Steps of each training that are profiled: a trace in the run's folder `profile`, and a line in words."""

    @model_validator(mode="after")
    def _keep_together(self) -> Self:
        if self.address and self.engine != "ray":
            refuse(f"`@address` = {self.address!r} is of a Ray cluster", 'add engine = "ray", or leave the address out')
        return self

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
