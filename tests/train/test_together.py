"""Pretraining by two processes: killed, stopped and taken up again, it ends with the same weights to the bit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fromscratch.cli import main
from fromscratch.core.files import digest_file
from fromscratch.core.history import read_trainings
from fromscratch.core.ledger import read_ledger
from fromscratch.core.stopping import EXIT_AGAIN

RECIPE = str(Path(__file__).parent.parent / "recipes" / "tiny.toml")
SETTINGS = [
    "machine.processes=2",
    "machine.threads=1",
    "machine.parallel.tensor=2",
    "pretrain.checkpoint_every_steps=4",
]
COMMAND = [
    sys.executable,
    "-m",
    "fromscratch",
    "train",
    RECIPE,
    *(word for each in SETTINGS for word in ("--set", each)),
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tokens are ready."""
    run = tmp_path_factory.mktemp("run") / "begun"
    assert main(["tokenizer", RECIPE, "--run", str(run)]) == 0
    return run


def saved_so_far(ledger: Path) -> int:
    return ledger.read_bytes().count(b'"kind":"checkpoint"')


def train_until(run: Path, checkpoints: int, number: signal.Signals) -> int:
    """Start training, and send a signal to the process that was started once it has made so many checkpoints."""
    ledger = run / "ledger" / "process-0.jsonl"
    checkpoints += saved_so_far(ledger)
    process = subprocess.Popen([*COMMAND, "--run", str(run)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while saved_so_far(ledger) < checkpoints:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def processes_at(run: Path) -> list[int]:
    """Which processes still have a file of the run open."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(run) in os.fspath(link.readlink()) for link in (each / "fd").iterdir()):
                found.append(int(each.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_killed_and_stopped_it_goes_on_and_ends_with_the_same_weights(begun: Path, tmp_path: Path) -> None:
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    shutil.copytree(begun, straight)
    shutil.copytree(begun, disturbed)
    subprocess.run([*COMMAND, "--run", str(straight)], check=True, capture_output=True)
    assert train_until(disturbed, 2, signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while processes_at(disturbed):  # nobody goes on writing when the one that watched is gone
        assert time.monotonic() < deadline, processes_at(disturbed)
        time.sleep(0.05)
    assert train_until(disturbed, 1, signal.SIGTERM) == EXIT_AGAIN
    assert sum(1 for _ in (disturbed / ".pretrain.unfinished" / "checkpoints").glob("step-*")) == 2
    subprocess.run([*COMMAND, "--run", str(disturbed)], check=True, capture_output=True)
    weights = [digest_file(run / "pretrain" / "model.safetensors") for run in (straight, disturbed)]
    assert weights[0] == weights[1]
    assert not (disturbed / "pretrain" / "checkpoints").exists()
    histories = [read_trainings(run / "ledger" / "process-0.jsonl")["pretrain"].steps for run in (straight, disturbed)]
    assert [(each.step, each.loss) for each in histories[0]] == [(each.step, each.loss) for each in histories[1]]
    resumed = [line for line in read_ledger(disturbed / "ledger" / "process-1.jsonl") if line["kind"] == "resumed"]
    assert len(resumed) == 2


def test_torchrun_starts_them_too(begun: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "--"]
    command = [*COMMAND[2:], "--run", str(run), "--set", "pretrain.steps=12"]
    done = subprocess.run([*torchrun, *command], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pretrain ") == 1  # process 0 alone speaks
    assert read_trainings(run / "ledger" / "process-0.jsonl")["pretrain"].steps[-1].step == 12
    assert read_trainings(run / "ledger" / "process-1.jsonl")["pretrain"].steps[-1].step == 12
