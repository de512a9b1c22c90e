"""Trains a tiny decoder in processes that are killed before any file operation or within any step, and reports as JSON.

Run as `python survival.py FOLDER`; test_survival.py reads what it prints.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fromscratch.core.files import TEMPORARY_SUFFIX, digest_file
from fromscratch.core.history import read_trainings
from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.settings import Linear, Muon
from fromscratch.train.loop import Batch
from fromscratch.train.run import train_to_end
from fromscratch.train.settings import LoopSettings

SETTINGS = LoopSettings(
    steps=9, batch_sequences=2, optimizer=Muon(), schedule=Linear(), checkpoint_every_steps=2, keep_checkpoints=2
)
SHAPE = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=16)
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


class Fate:
    """Counts what the process does to files, and kills it before the one with a given number."""

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self.count = 0
        self._folder, self._kill_at = str(folder), kill_at
        sys.addaudithook(self._hear)

    def happen(self) -> None:
        if self.count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        # Within shutil.rmtree names are relative to an open folder.
        if event in EVENTS and (event in ("os.remove", "os.rmdir") or str(arguments[0]).startswith(self._folder)):
            self.happen()


def train(folder: Path, fate: Callable[[], None]) -> dict[str, Any]:
    def batches(number: int) -> Batch:
        fate()
        sequences = torch.randint(0, 40, (2, 13), generator=torch.Generator().manual_seed(number))
        return sequences[:, :-1], sequences[:, 1:]

    decoder = Decoder(SHAPE, 40)
    initialise(decoder, 0)
    draft = folder / "draft"
    draft.mkdir(parents=True, exist_ok=True)
    for torn in draft.glob(f"*{TEMPORARY_SUFFIX}"):  # as `begin_artifact` does
        torn.unlink()
    with Ledger(folder / "ledger.jsonl") as ledger:
        workplace = Workplace(Machine(threads=1, device="cpu"), ledger)
        return train_to_end(draft, decoder, batches, SETTINGS, workplace, "pretrain")


def run_process(folder: Path, kill_at: int | None = None, kill_after_seconds: float | None = None) -> str:
    """Train in a process of its own. Returns "killed", or the number of events in words."""
    reading, writing = os.pipe()
    child = os.fork()  # a fork, because importing torch each time would take most of the test
    if child == 0:
        try:
            fate = Fate(folder, kill_at)
            train(folder, fate.happen)
            os.write(writing, str(fate.count).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    if kill_after_seconds is not None:
        time.sleep(kill_after_seconds)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return "killed"
    assert os.WEXITSTATUS(status) == 0, f"the process failed after the kill at {kill_at}"
    return said


def result(folder: Path) -> dict[str, Any]:
    """Everything that the run left, and its final history without its times."""
    draft = folder / "draft"
    return {
        "files": {
            each.relative_to(draft).as_posix(): digest_file(each) for each in sorted(draft.rglob("*")) if each.is_file()
        },
        "history": [
            [line.step, line.loss, line.tokens] for line in read_trainings(folder / "ledger.jsonl")["pretrain"].steps
        ],
    }


def main(base: Path) -> None:
    torch.set_num_threads(1)
    draw = random.Random(0)
    train(base / "warm", lambda: None)  # loads what torch loads late, once for all processes
    events = int(run_process(base / "undisturbed"))
    ends: dict[str, Any] = {}
    for kill_at in range(0, events, 4):
        folder = base / f"event-{kill_at}"
        died = [run_process(folder, kill_at), run_process(folder, draw.randrange(events))]
        run_process(folder)
        ends[folder.name] = {"died": died[0] == "killed", **result(folder)}
    for number in range(10):
        folder = base / f"instant-{number}"
        died = [run_process(folder, kill_after_seconds=draw.uniform(0, 0.1)) for _ in range(2)]
        run_process(folder)
        ends[folder.name] = {"died": "killed" in died, **result(folder)}
    print(json.dumps({"events": events, "undisturbed": result(base / "undisturbed"), "ends": ends}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
