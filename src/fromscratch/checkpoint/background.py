"""A checkpoint written while training goes on: copied, for which the loop waits, and then saved by a thread."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from fromscratch.checkpoint.store import Checkpoint, save_checkpoint

__all__ = ["BackgroundSaver", "Saved"]


@dataclass(frozen=True)
class Saved:
    """What came of one save."""

    step: int
    facts: Mapping[str, Any]
    checkpoint: Checkpoint | None
    """None where the disk of some process refused, and ``failure`` says why."""
    failure: OSError | None
    waited_seconds: float
    """That the caller spent on it."""


class BackgroundSaver:
    """Saves one state at a time into ``folder``.

    ``group`` is a gloo group for this alone: its collectives run beside those of the loop. Copies are made into memory
    that is kept from save to save. All processes of the group call the same methods in the same order.
    """

    def __init__(self, folder: Path, group: dist.ProcessGroup | None = None) -> None:
        self._folder, self._group = folder, group
        self._copies: dict[str, Tensor] = {}
        self._under_way: _Save | None = None

    def begin(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Saved | None:
        """Start to save what the tensors hold now; return what came of the save before, if it was not told yet.

        Waits for that one first: a disk slower than the interval between checkpoints slows training, and loses nothing.
        """
        began = time.perf_counter()
        before = self.finish()
        between = time.perf_counter()
        copies = {name: self._copied(name, each) for name, each in tensors.items()}
        save = _Save(self._folder, step, copies, dict(facts), self._group, waited=time.perf_counter() - between)
        self._under_way = save
        save.thread.start()
        if before is None:
            return None
        return _waited_more(before, between - began)

    def result(self) -> Saved | None:
        """What came of the save under way, once it has ended; None before, and when it was told."""
        if self._under_way is None or self._under_way.thread.is_alive():
            return None
        return self.finish()

    def finish(self) -> Saved | None:
        """The same, after waiting for it."""
        if self._under_way is None:
            return None
        began = time.perf_counter()
        save, self._under_way = self._under_way, None
        save.thread.join()
        if save.error is not None:
            raise save.error
        waited = save.waited + time.perf_counter() - began
        return Saved(save.step, save.facts, save.checkpoint, save.failure, waited)

    def _copied(self, name: str, tensor: Tensor) -> Tensor:
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        copy = self._copies.get(name)
        if copy is None or copy.shape != local.shape or copy.dtype != local.dtype:
            copy = self._copies[name] = torch.empty_like(local, device="cpu", pin_memory=local.is_cuda)
        copy.copy_(local.detach())
        if isinstance(tensor, DTensor):
            return DTensor.from_local(
                copy,
                tensor.device_mesh,
                tensor.placements,
                run_check=False,
                shape=tensor.shape,
                stride=tensor.stride(),
            )
        return copy


@dataclass
class _Save:
    folder: Path
    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    group: dist.ProcessGroup | None
    waited: float
    checkpoint: Checkpoint | None = None
    failure: OSError | None = None
    error: BaseException | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name=f"checkpoint of step {self.step}", daemon=True)

    def _run(self) -> None:
        try:
            self.checkpoint = save_checkpoint(self.folder, self.step, self.tensors, self.facts, self.group)
        except OSError as error:
            self.failure = error
        except BaseException as error:
            self.error = error


def _waited_more(saved: Saved, seconds: float) -> Saved:
    return Saved(saved.step, saved.facts, saved.checkpoint, saved.failure, saved.waited_seconds + seconds)
