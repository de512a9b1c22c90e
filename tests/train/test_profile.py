"""The profile of a training: a trace that a viewer reads, and shares in words that add up."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fromscratch.core.ledger import Ledger, read_ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.settings import Muon
from fromscratch.train.loop import Batch
from fromscratch.train.profile import BETWEEN, KINDS, REST
from fromscratch.train.run import train_to_end
from fromscratch.train.settings import LoopSettings

torch.set_num_threads(1)

SHAPE = DecoderSettings(layers=2, width=128, heads=4, kv_heads=2, ffn_width=352, context_tokens=128)


def run(folder: Path, profile_steps: int | None) -> list[Any]:
    def batches(number: int) -> Batch:
        sequences = torch.randint(0, 500, (2, 129), generator=torch.Generator().manual_seed(number))
        return sequences[:, :-1], sequences[:, 1:]

    settings = LoopSettings(steps=6, batch_sequences=2, optimizer=Muon(), schedule={"kind": "constant"})
    decoder = Decoder(SHAPE, 500)
    initialise(decoder, 0)
    (folder / "draft").mkdir(parents=True)
    with Ledger(folder / "ledger" / "process-0.jsonl") as ledger:
        workplace = Workplace(Machine(threads=1, device="cpu", restarts=0, profile_steps=profile_steps), ledger)
        train_to_end(folder / "draft", decoder, batches, settings, workplace, "pretrain")
    return [line for line in read_ledger(folder / "ledger" / "process-0.jsonl") if line["kind"] == "profile"]


def test_a_profile_says_where_the_time_goes_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = run(tmp_path / "profiled", 2)
    told = capsys.readouterr().err
    assert run(tmp_path / "plain", None) == []
    weights = [(tmp_path / each / "draft" / "model.safetensors").read_bytes() for each in ("profiled", "plain")]
    assert weights[0] == weights[1]
    shares = line["shares"]
    assert set(shares) == {*KINDS, REST, BETWEEN}
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    for kind in ("matrix products", "attention", "loss", "optimiser", "data"):
        assert shares[kind] > 0, kind
    assert line["steps"] == 2 and "pretrain: 2 steps of" in told and "matrix products" in told
    trace = json.loads((tmp_path / "profiled" / "profile" / line["trace"]).read_text())
    assert any(each.get("name") == "fromscratch::data" for each in trace["traceEvents"])


def test_a_run_too_short_for_a_profile_ends_as_ever(tmp_path: Path) -> None:
    assert [line["steps"] for line in run(tmp_path, 50)] in ([], [4])
