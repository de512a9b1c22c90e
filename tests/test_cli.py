"""What the command line says: its help, and its answer to bad input, word for word."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fromscratch.cli import _recipe_and_run, main, parse_arguments
from tests.conftest import Golden
from tests.make_corpus import make_corpus

ROOT = Path(__file__).parent.parent
TINY = str(ROOT / "tests" / "recipes" / "tiny.toml")
VERBS = (
    *("run", "corpus", "tokenizer", "train", "tune", "evaluate", "release", "report", "chat", "inspect", "compare"),
    *("fingerprint", "convert", "import", "ledger", "goodput", "schema", "doctor"),
)
CORPUS_VERBS = ("corpus explain", "corpus sample", "corpus diff")


def test_help_texts(golden: Golden, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for arguments in ((), *((verb,) for verb in VERBS), *(verb.split() for verb in CORPUS_VERBS)):
        with pytest.raises(SystemExit):
            main([*arguments, "--help"])
    text = capsys.readouterr().out
    if sys.version_info < (3, 13):  # 3.13 words usage lines in its own way
        golden.check("cli/help.txt", text)
    assert all(f"\n    {verb} " in text or f"\n    {verb}\n" in text for verb in VERBS)


def test_the_word_after_corpus_is_a_recipe_unless_it_asks_of_a_corpus() -> None:
    assert parse_arguments(["corpus", "recipe.toml", "--json"]).until == "corpus"
    assert parse_arguments(["corpus", "./explain"]).target == Path("explain")
    asked = parse_arguments(["corpus", "explain", "runs/demo", "2cad"])
    assert (asked.run, asked.document) == (Path("runs/demo"), "2cad")
    assert parse_arguments(["corpus", "sample", "runs/demo", "--reason", "too_short"]).reason == "too_short"
    assert parse_arguments(["corpus", "diff", "runs/a", "runs/b"]).other == Path("runs/b")


def test_a_made_corpus_answers_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "A first text."}, {"text": "A", "reason": "too_short", "step": "quality", "evidence": "1 < 2"}]
    make_corpus(tmp_path / "a" / "corpus", rows)
    make_corpus(tmp_path / "b" / "corpus", [rows[0], {"text": "A"}])
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["corpus", "sample", a, "--reason", "too_short", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["documents"]
    assert [each["evidence"] for each in shown] == ["1 < 2"]
    assert main(["corpus", "sample", a]) == 0 and "dropped by quality: too_short" in capsys.readouterr().out
    assert main(["corpus", "diff", a, b, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sums"]["kept now"] == {"documents": 1, "bytes": 1}
    assert main(["corpus", "sample", a, "--reason", "short"]) == 2
    assert "hint: " in capsys.readouterr().err


def test_the_schema_describes_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"corpus", "model", "pretrain", "tune"} <= set(schema["properties"])
    described = [each for kind in schema["$defs"].values() for each in kind.get("properties", {}).items()]
    # Where a field's sentence is that of its class, the schema says it once, behind the reference.
    assert [name for name, each in described if not {"description", "$ref"} & each.keys() and name != "kind"] == []


def bad_inputs(folder: Path) -> dict[str, list[str]]:
    """Arguments by what is wrong with them; the files that they name are made in ``folder``."""
    lines = "\n".join(json.dumps({"text": f"line {number} of a text"}) for number in range(5000))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:5000])
    (folder / "cut.parquet").write_bytes(b"PAR1" + bytes(3000))
    (folder / "empty").mkdir()
    books = "corpus.sources.books.path"
    return {
        "a misspelt key": ["--set", "model.kvheads=2"],
        "a wrong type": ["--set", 'model.layers="two"'],
        "heads that do not divide": ["--set", "model.kv_heads=3"],
        "an absurd setting": ["--set", "pretrain.schedule.warmup_steps=1000000"],
        "a missing source": ["--set", f"{books}=nowhere"],
        "an empty folder": ["--set", f"{books}=empty"],
        "a truncated Parquet file": ["--set", f"{books}=cut.parquet"],
        "an earlier corpus that is not there": ["--set", 'corpus.against=["empty"]'],
        "nothing left after filtering": ["--set", 'corpus.filters.language.keep=["sw"]'],
    }


def test_a_truncated_file_costs_its_own_rest_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    bad_inputs(tmp_path)
    asked = ["--set", f"corpus.sources.books.path={tmp_path / 'cut.jsonl.gz'}", "--set", "machine.workers=1"]
    assert main(["corpus", "tests/recipes/tiny.toml", "--run", str(tmp_path / "run"), *asked]) == 0
    assert "unreadable: cut.jsonl.gz (" in capsys.readouterr().err


def test_a_release_that_plain_llama_code_could_not_load_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["tests/recipes/tiny.toml", "--run", str(tmp_path / "run"), "--set", 'model.activation="relu"']
    assert main(["run", *asked]) == 2
    assert capsys.readouterr().err == (
        'error: `model.activation`: a release is a folder that plain Llama code loads, and that has "swiglu"\n'
        "hint: set it so, or go up to `fromscratch evaluate RECIPE`, which scores any model\n"
    )
    assert not (tmp_path / "run").exists()


def test_bad_input_is_one_sentence_and_a_hint(
    golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("tests", "src"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    said = []
    for name, arguments in bad_inputs(tmp_path).items():
        status = main(["corpus", "tests/recipes/tiny.toml", "--run", "run", "--set", "machine.workers=1", *arguments])
        talk = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("fetch ")]
        assert status == 2 and len(talk) == 2 and talk[1].startswith("hint: "), (name, talk)
        said.append(f"# {name}\n" + "\n".join(talk).replace(str(tmp_path), "FOLDER") + "\n")
        subprocess.run(["rm", "-rf", "run"], check=True)
    golden.check("cli/bad_input.txt", "\n".join(said))


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_disk_that_refuses_is_named_and_nothing_is_lost(
    trouble: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        if trouble == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        command = ["corpus", TINY, "--run", str(disk / "run"), "--set", "machine.workers=1"]
        assert main(command) == 2
        talk = capsys.readouterr().err
        assert ("no space is left" if trouble == "full" else "read-only") in talk and "hint: " in talk
        subprocess.run(["mount", "-o", "remount,rw,size=50m", str(disk)], check=True)
        assert main(command) == 0, capsys.readouterr().err
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_profiling_is_a_setting_of_the_machine_that_train_switches_on() -> None:
    tiny = str(Path(__file__).parent / "recipes" / "tiny.toml")
    for words, steps in ((["--profile"], 3), ([], None), (["--profile", "--set", "machine.profile_steps=5"], 5)):
        recipe, _ = _recipe_and_run(parse_arguments(["train", tiny, *words]))
        assert recipe.machine.profile_steps == steps


def test_what_an_extra_brings_is_named_with_it() -> None:
    code = """
import sys
sys.modules["numba"] = None
from fromscratch.cli import main
sys.exit(main(["compare", "one", "two"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        'error: this needs numba, which is not installed\nhint: pip install "fromscratch[anatomy]"\n'
    )
