"""The verbs `convert` and `import` on a command line."""

import json
from pathlib import Path

import pytest
import torch

from fromscratch.cli import main
from fromscratch.model.files import load_model
from tests.model.conftest import peer_of, recollections, trained_decoder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    peer_of(trained_decoder()).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def test_import_writes_what_our_decoder_reads(llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(llama), "--out", str(tmp_path / "ours")]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{tmp_path / 'ours'}\n") and "21 renamed, their bytes as they were" in told
    tokens_BT, _ = recollections(2, 64)
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "ours")(tokens_BT), trained_decoder()(tokens_BT))


def test_without_a_place_the_result_lies_here_under_a_name_of_its_own(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(llama), "--to", "gguf", "--type", "Q8_0", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["out"] == "llama-Q8_0.gguf" and Path("llama-Q8_0.gguf").is_file()
    assert main(["convert", str(llama), "--to", "litgpt"]) == 0
    assert {"lit_model.pth", "model_config.yaml"} <= {each.name for each in Path("llama-litgpt").iterdir()}


def test_the_plan_is_printed_and_nothing_is_written(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(llama), "--to", "gguf", "--plan"]) == 0
    plan = json.loads(capsys.readouterr().out)
    query = next(each for each in plan["outputs"] if each["name"] == "blk.1.attn_q.weight")
    assert query["pieces"] == [
        {
            "input": "model.layers.1.self_attn.q_proj.weight",
            "rows": [0, 32],
            "columns": [0, 32],
            "regroup": [4, 2, 4],
        }
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["llama"]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--to", "lllama"], "--to lllama: no such names", "did you mean `llama`?"),
        (["--to", "llama", "--type", "Q8_0"], "--type Q8_0: not a form that llama stores", "known: F32, F16, BF16"),
        (["--to", "llama", "--set", "heads=5"], "`kv_heads` = 2 does not divide `heads` = 5", "use 1 (multi-query)"),
        (["--to", "native", "--set", "layers=1"], "no such tensor", "or --set what is wrong"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    llama: Path, tmp_path: Path, words: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(llama), *words, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert message in told and hint in told
    assert not (tmp_path / "out").exists()
