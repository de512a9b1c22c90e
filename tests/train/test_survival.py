"""Killed at any point and started again, a run ends with the same files and the same history, to the bit."""

import json
import subprocess
import sys
from pathlib import Path


def test_kill_9_before_any_file_operation_and_at_any_instant_changes_nothing(tmp_path: Path) -> None:
    script = Path(__file__).with_name("survival.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    undisturbed = report["undisturbed"]
    assert set(undisturbed["files"]) == {"model.json", "model.safetensors"}
    assert [step for step, _, _ in undisturbed["history"]] == list(range(1, 10))
    assert report["events"] > 60
    for name, end in report["ends"].items():
        assert end["files"] == undisturbed["files"], name
        assert end["history"] == undisturbed["history"], name
    assert all(end["died"] for name, end in report["ends"].items() if name.startswith("event"))
    assert sum(end["died"] for name, end in report["ends"].items() if name.startswith("instant")) >= 3
