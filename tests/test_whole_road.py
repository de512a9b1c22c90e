"""The whole road on a few pages: one command makes everything, once, whatever happens to it in between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fromscratch.core.lock import run_lock
from fromscratch.core.stopping import Stopped

ROOT = Path(__file__).parent.parent
RECIPE = "tests/recipes/tiny.toml"
STAGES = ("fetch", "corpus", "tokenizer", "tokens", "pretrain", "tune", "evaluate", "release", "report")


def fromscratch(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fromscratch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=300)


def digests(run: Path) -> dict[str, str]:
    """Of every stage but the report, which tells how long the others took."""
    return {each: json.loads((run / each / "manifest.json").read_text())["digest"] for each in STAGES[:-1]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tiny"
    done = fromscratch("run", RECIPE, "--run", run)
    assert done.returncode == 0, done.stderr
    assert str(run / "release" / "model") in done.stdout and str(run / "report" / "report.html") in done.stdout
    return run


def test_a_second_run_does_nothing_and_says_so_at_once(finished: Path) -> None:
    before, begun = digests(finished), time.monotonic()
    done = fromscratch("run", RECIPE, "--run", finished)
    assert time.monotonic() - begun < 3
    assert done.returncode == 0 and "nothing to do" in done.stdout
    assert digests(finished) == before


def test_a_run_can_be_named_by_its_folder(finished: Path) -> None:
    done = fromscratch("train", finished, "--json")
    stages = json.loads(done.stdout)["stages"]
    assert list(stages) == list(STAGES[:5]) and all(stage["kept"] for stage in stages.values())


@pytest.mark.parametrize(
    ("assignment", "stage", "path"),
    [
        ("model.layers=3", "pretrain", "model.layers`: 2 → 3"),
        ("tokenizer.pieces=700", "tokenizer", "tokenizer.pieces`: 600 → 700"),
        ("corpus.duplicates.threshold=0.7", "corpus", "corpus.duplicates.threshold`: 0.8 → 0.7"),
        ("release.description=other", "release", 'release.description`: "" → "other"'),
    ],
)
def test_a_changed_setting_names_the_stage_that_it_would_redo(
    finished: Path, assignment: str, stage: str, path: str
) -> None:
    done = fromscratch("run", RECIPE, "--run", finished, "--set", assignment)
    assert done.returncode == 2
    assert f"stage `{stage}` is finished with other settings" in done.stderr and path in done.stderr
    assert f"--redo to make again {stage}" in done.stderr


def test_a_changed_machine_makes_nothing_stale(finished: Path) -> None:
    done = fromscratch("run", RECIPE, "--run", finished, "--set", "machine.workers=1")
    assert done.returncode == 0 and "nothing to do" in done.stdout


def test_redoing_one_stage_keeps_what_comes_before_it(finished: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", str(finished), str(tmp_path / "copy")], check=True)
    change = ("--set", "evaluate.answer_tokens=4", "--redo")
    done = fromscratch("evaluate", RECIPE, "--run", tmp_path / "copy", *change, "--json")
    assert done.returncode == 0, done.stderr
    kept = [name for name, stage in json.loads(done.stdout)["stages"].items() if stage["kept"]]
    assert kept == list(STAGES[:6])


def test_a_damaged_input_is_found_before_it_is_used(finished: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", str(finished), str(tmp_path / "copy")], check=True)
    weights = tmp_path / "copy" / "pretrain" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    done = fromscratch("tune", RECIPE, "--run", tmp_path / "copy", "--set", "tune.steps=21", "--redo")
    assert done.returncode == 2 and "model.safetensors: its content is not what was written" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stopped_in_every_stage_it_ends_with_the_same_digests(finished: Path, tmp_path: Path, number: int) -> None:
    run, stopped = tmp_path / "run", []
    for stage in (*STAGES[1:], None):
        command = [sys.executable, "-m", "fromscratch", "run", RECIPE, "--run", str(run)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
        while process.poll() is None and not (stage and is_at_work(run, stage)):
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(number)
            stopped.append(stage)
        _, talk = process.communicate(timeout=120)
        assert process.returncode in (0, -number, Stopped(number).exit_code), talk
    assert process.returncode == 0 and len(stopped) >= 6, (stopped, talk)
    assert digests(run) == digests(finished)


def is_at_work(run: Path, stage: str) -> bool:
    """Whether the stage has begun to write, which is the instant to be cruel."""
    folder = run / f".{stage}.unfinished"
    return folder.exists() and any(each.name != "begun.json" for each in folder.iterdir())


def test_a_locked_run_is_refused(finished: Path) -> None:
    with run_lock(finished):
        done = fromscratch("run", RECIPE, "--run", finished)
    assert done.returncode == 2 and "another run is at work here" in done.stderr and "hint:" in done.stderr
