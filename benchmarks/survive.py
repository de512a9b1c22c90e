"""Pretraining killed with -9 at random instants: it ends by itself, with the weights of an undisturbed run to the bit.

    python benchmarks/survive.py [--kills 100] [--processes 2] [--seed 1] [--steps 60]

What is killed is drawn: one process of the training, all of them, or the command that watches over them; the instant
too, so that it falls into steps, saves, commits, loads and starts as these take their time. Only a command that was
itself killed is given again. Whenever one ends, its weights are compared, and its history: every step once, with the
loss and the position in the data that it has without kills.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fromscratch.core.account import time_spent
from fromscratch.core.history import read_trainings

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "tests" / "recipes" / "tiny.toml"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--steps", type=int, default=60)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        trial = Trial(Path(name), asked.processes, asked.steps, random.Random(asked.seed))
        print(f"undisturbed: {trial.seconds:.1f} s, weights {trial.expected[0][:16]}", flush=True)
        counts = trial.kill(asked.kills)
    told = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
    print(f"{asked.kills} kills, {asked.processes} processes: {told}")
    raise SystemExit(counts["runs that ended otherwise"] + counts["commands that gave up"] > 0)


class Trial:
    """A run whose tokens are ready, trained again and again."""

    def __init__(self, folder: Path, processes: int, steps: int, chance: random.Random) -> None:
        self._folder, self._chance = folder, chance
        settings = {
            "machine.processes": processes,
            "machine.threads": 1,
            "machine.restarts": 1000,
            "pretrain.steps": steps,
            "pretrain.checkpoint_every_steps": 3,
        }
        self._command = [sys.executable, "-m", "fromscratch", "train", str(RECIPE)]
        for setting, value in settings.items():
            self._command += ["--set", f"{setting}={value}"]
        until = [*self._command[:3], "tokenizer", *self._command[4:], "--run", str(folder / "begun")]
        subprocess.run(until, check=True, capture_output=True, cwd=ROOT)
        self._start()
        began = time.monotonic()
        self._process.communicate()
        self.seconds = time.monotonic() - began
        self.expected = self._outcome()

    def kill(self, kills: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        self._start()
        while True:
            pause = self._chance.uniform(0, 0.7) * self.seconds if counts["kills"] < kills else None
            try:
                _, said = self._process.communicate(timeout=pause)
            except subprocess.TimeoutExpired:
                self._strike(counts)
                continue
            if self._process.returncode == -signal.SIGKILL:
                self._start(again=True)
                continue
            if self._process.returncode:
                counts["commands that gave up"] += 1
                print(said.decode(), flush=True)
            else:
                counts["runs" if self._outcome() == self.expected else "runs that ended otherwise"] += 1
                spent = time_spent(self._run)["pretrain"]
                counts["restarts"] += spent.restarts
                counts["steps done again"] += spent.repeated_steps
            if counts["kills"] >= kills:
                del counts["kills"]
                return counts
            self._start()

    def _strike(self, counts: Counter[str]) -> None:
        ranks = [
            pid for pid in descendants(self._process.pid) if b"forkserver" in command_of(pid) and not children(pid)
        ]
        when = self._phase()
        what = self._chance.choice(["one process", "all processes", "the command"])
        victims = {"one process": ranks and [self._chance.choice(ranks)], "all processes": ranks}
        struck = False
        for pid in victims.get(what, [self._process.pid]):
            try:
                os.kill(pid, signal.SIGKILL)
                struck = True
            except ProcessLookupError:
                continue
        if struck:
            counts.update(("kills", f"of {what}", f"in {when}"))

    def _phase(self) -> str:
        draft = self._run / ".pretrain.unfinished"
        if (draft / "checkpoints").exists() and any((draft / "checkpoints").glob(".step-*")):
            return "a save"
        lines = (self._run / "ledger" / "process-0.jsonl").read_bytes().splitlines()[-2:]
        kinds = {json.loads(line)["kind"] for line in lines if line.endswith(b"}")}
        return "steps" if "step" in kinds else "a start or a load"

    def _start(self, again: bool = False) -> None:
        self._run = self._folder / "run"
        if not again:
            shutil.rmtree(self._run, ignore_errors=True)
            shutil.copytree(self._folder / "begun", self._run)
        command = [*self._command, "--run", str(self._run)]
        while any(str(self._run).encode() in command_of(pid) for pid in processes() if pid != os.getpid()):
            time.sleep(0.05)  # the processes of a killed command leave by themselves
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)

    def _outcome(self) -> tuple[Any, ...]:
        weights = json.loads((self._run / "pretrain" / "manifest.json").read_text())["files"]["model.safetensors"]
        steps = read_trainings(self._run / "ledger" / "process-0.jsonl")["pretrain"].steps
        return weights["sha256"], [(each.step, each.loss, each.tokens) for each in steps]


def processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").glob("[0-9]*")]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def children(pid: int) -> list[int]:
    try:
        text = "".join(each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children"))
        return [int(word) for word in text.split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [each for child in found for each in descendants(child)]


if __name__ == "__main__":
    main()
