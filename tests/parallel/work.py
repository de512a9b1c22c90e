"""What processes do in the tests of their start and end."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from fromscratch.core.errors import FromScratchError
from fromscratch.core.stopping import Stopped, stop_at_safe_point
from fromscratch.core.workplace import Workplace
from fromscratch.optim.build import build_optimizer
from fromscratch.optim.settings import Muon
from fromscratch.parallel.mesh import Ranks


def add(job: int, workplace: Workplace, ranks: Ranks) -> dict[str, Any]:
    """Sum what each process has, and leave a line in its ledger."""
    workplace.ledger.append("worked", rank=ranks.number)
    total = ranks.total(torch.tensor(float(job + ranks.number)))
    return {"total": total.item(), "told": ranks.told(ranks.number), "threads": workplace.machine.thread_count}


def fail(how: str, _workplace: Workplace, ranks: Ranks) -> None:
    """Process 1 fails in some way while the other one waits for it."""
    if ranks.number == 1 and how == "refuses":
        raise FromScratchError("there is a reason", "there is a way out")
    if ranks.number == 1 and how == "breaks":
        raise ZeroDivisionError("nobody expected this")
    if ranks.number == 1 and how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.highest(0)


@dataclass(frozen=True)
class Accident:
    """What befalls a process in its first attempts, told apart by a file that each leaves in a folder."""

    folder: Path
    how: str
    times: int = 1
    rank: int = 0


def step_with_accidents(accident: Accident, workplace: Workplace, ranks: Ranks) -> int:
    """Twelve steps of a hundredth of a second; in the eighth something happens, and the attempt's number is told."""
    number = ranks.told(len(list(accident.folder.iterdir())) if ranks.number == 0 else 0)
    ranks.highest(0)
    for step in range(12):
        ranks.beat("step", step)
        time.sleep(0.01)
        if step == 7 and ranks.number == accident.rank:
            (accident.folder / str(number)).touch()
            if number < accident.times:
                _meet(accident.how)
        ranks.highest(0)
    workplace.ledger.append("worked", rank=ranks.number)
    return number


def _meet(accident: str) -> None:
    match accident:
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "is halted":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleeps":
            time.sleep(3600)
        case "breaks":
            raise ZeroDivisionError("nobody expected this")


def step_until_stopped(starter: int, _workplace: Workplace, ranks: Ranks) -> None:
    """Process 1 sends a signal to whoever started it, and all stop at the same step, whoever hears of it first."""
    with stop_at_safe_point() as stop:
        if ranks.number == 1:
            os.kill(starter, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while not (number := int(*ranks.highest(stop.signal_number or 0))):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    raise Stopped(number)


def muon_steps(_job: None, _workplace: Workplace, ranks: Ranks) -> list[bool]:
    """Whether Muon moves matrices that are shared out, by rows, by columns or by both, as it moves whole ones."""
    assert ranks.weights is not None
    mesh = ranks.weights["shard", "tensor"]
    same = []
    for placements in ((Shard(0), Replicate()), (Replicate(), Shard(1)), (Shard(0), Shard(1)), (Shard(1), Shard(0))):
        draw = torch.Generator().manual_seed(3)
        whole = {name: nn.Parameter(torch.randn(7, 12, generator=draw)) for name in ("one", "two")}
        parts = {name: nn.Parameter(distribute_tensor(each.detach(), mesh, placements)) for name, each in whole.items()}
        updaters = [build_optimizer(Muon(), each.items()) for each in (whole, parts)]
        for _ in range(3):
            for name, each in whole.items():
                each.grad = torch.randn(7, 12, generator=draw)
                parts[name].grad = distribute_tensor(each.grad, mesh, placements)
            for updater in updaters:
                updater.step(1.0)
        gathered = {name: each.full_tensor() for name, each in parts.items() if isinstance(each, DTensor)}
        same.append(all(torch.equal(each, gathered[name]) for name, each in whole.items()))
    return same
