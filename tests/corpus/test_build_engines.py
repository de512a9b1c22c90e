"""The corpus on every engine: the same bytes, and no shard that another setting has made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fromscratch.core.artifact import open_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.corpus import build
from fromscratch.pipeline import run_stages
from fromscratch.recipe import Recipe, load_recipe

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "tests" / "fixtures" / "pages"
RECIPE = """
name = "engines"
[model]
layers = 2
width = 64
heads = 2
kv_heads = 2
ffn_width = 128
context_tokens = 64
[pretrain]
steps = 1
batch_sequences = 1
sequence_tokens = 64
[tune]
steps = 1
batch_sequences = 1
[tune.dialogues.none]
kind = "jsonl"
path = "none.jsonl"
license = "CC0-1.0"
"""
SOURCES = {"docs": "html/en", "guide": "html/zh", "rights": "html/udhr", "plays": "text/en"}


def recipe_of(folder: Path) -> Path:
    """A recipe of four sources, and so of four shards, below a folder of its own."""
    (folder / "pages").symlink_to(PAGES)
    sources = "".join(
        f'[corpus.sources.{name}]\nkind = "files"\npath = "pages/{path}"\ndomain = "web"\nlicense = "MIT"\n'
        for name, path in SOURCES.items()
    )
    (folder / "engines.toml").write_text(RECIPE + sources)
    return folder / "engines.toml"


def corpus_of(recipe: Recipe, run: Path, redo: bool = False) -> str:
    run_stages(recipe, run, until="corpus", redo=redo)
    artifact = open_artifact(run / "corpus")
    assert artifact is not None
    return artifact.digest


def test_a_changed_threshold_never_reuses_an_old_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = recipe_of(tmp_path)
    one = {"machine.workers": 1}
    before, after = (load_recipe(path, {**one, "corpus.heldout.share": share}) for share in (0.2, 0.1))
    write_shard, written = build.write_shard, []

    def interrupted(job: build.ShardJob) -> object:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(job)
        return write_shard(job)

    monkeypatch.setattr(build, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        corpus_of(before, tmp_path / "run")
    assert len(list(tmp_path.glob("run/.corpus.unfinished/shards/*.parquet"))) == 2
    with pytest.raises(FromScratchError, match=r"unfinished work with other settings: `corpus\.heldout\.share`"):
        corpus_of(after, tmp_path / "run")

    def noted(job: build.ShardJob) -> object:
        written.append(job)
        return write_shard(job)

    written.clear()
    monkeypatch.setattr(build, "write_shard", noted)
    digest = corpus_of(after, tmp_path / "run", redo=True)
    assert len(written) == len(SOURCES), "every shard is written anew"
    assert digest == corpus_of(after, tmp_path / "fresh")


def command(path: Path, run: str, *settings: str) -> subprocess.CompletedProcess[str]:
    words = [word for each in settings for word in ("--set", each)]
    line = [sys.executable, "-m", "fromscratch", "corpus", str(path), "--run", run, "--json", *words]
    return subprocess.run(line, cwd=path.parent, capture_output=True, text=True, check=False)


def test_ray_writes_the_same_bytes_from_another_folder_and_only_json_to_stdout(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    path = recipe_of(tmp_path)
    digests = []
    for run, settings in (("embedded", ()), ("cluster", ('machine.engine="ray"',))):
        done = command(path, run, "machine.workers=2", *settings)
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)
        digests.append(json.loads((tmp_path / run / "corpus" / "manifest.json").read_text())["digest"])
    assert digests[0] == digests[1]


def test_a_cluster_that_does_not_answer_is_said_in_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    done = command(recipe_of(tmp_path), "run", 'machine.engine="ray"', 'machine.address="127.0.0.1:1"')
    assert done.returncode == 2
    assert "error: `machine.address` = '127.0.0.1:1': no Ray cluster answers" in done.stderr
    assert "ray start --head" in done.stderr
