"""The guide retells the affair, and everything that it shows is what the commands print."""

import json
import re
import shlex
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from fromscratch.cli import main
from fromscratch.model.description import DESCRIPTION, WEIGHTS
from fromscratch.model.llama_names import from_llama_name
from tests.anatomy.test_compare import write_model
from tests.anatomy.trained import SHAPE, VOCABULARY
from tests.anatomy.zoo import Zoo

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "is-it-the-same-model.md"


def words(line: str) -> str:
    """A line as it reads, whatever its columns."""
    return re.sub(r"\s+", " ", line).strip()


def test_the_guide_shows_what_its_commands_print(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(zoo, tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    printed, shown = "", 0
    for language, text in re.findall(r"^```(sh|text)\n(.*?)^```", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if language == "sh":
            commands = [shlex.split(line)[1:] for line in text.splitlines()]
            for command in commands:
                if command[0] != "run":
                    assert main(command) == 0, command
            printed = words(capsys.readouterr().out)
        else:
            for line in text.splitlines():
                for cell in re.split(r"\s{2,}", line.strip()):
                    shown += 1
                    assert cell in printed, cell
    assert shown > 20 and (tmp_path / "suspect.html").stat().st_size > 10_000


def make_run(zoo: Zoo, run: Path) -> None:
    """What a run leaves, as far as the guide needs it: a pretrained model, and one tuned from it and released."""
    pretrain = run / "pretrain"
    pretrain.mkdir(parents=True)
    save_file({from_llama_name(name): each for name, each in zoo.models["base"].items()}, pretrain / WEIGHTS)
    described = {"settings": SHAPE.model_dump(mode="json"), "vocabulary": VOCABULARY, "sha256": ""}
    (pretrain / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")
    write_model(run / "release" / "model", zoo.models["further"], zoo.checkpoint("further").config)
