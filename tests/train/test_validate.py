"""Held-out losses by group: on record, the same every time, and without a trace in the training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file, write_json
from fromscratch.core.ledger import Ledger, read_ledger
from fromscratch.core.workplace import Machine, Parallel, Workplace
from fromscratch.model.files import load_model
from fromscratch.model.loss import IGNORED
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.settings import Constant
from fromscratch.tokens.heldout import heldout_windows
from fromscratch.tokens.shards import INDEX, describe_shard, token_type, write_shard
from fromscratch.train.pretrain import pretrain
from fromscratch.train.settings import PretrainSettings

torch.set_num_threads(1)

VOCABULARY = 50
MODEL = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=16)
SETTINGS = PretrainSettings(
    steps=7,
    batch_sequences=4,
    sequence_tokens=16,
    schedule=Constant(),
    precision="fp32",
    z_loss=0.1,
    validate_every_steps=3,
    validate_tokens=80,
)
HELD_OUT = {"en/books": [30, 300], "code/code": [9], "zh/books": []}  # tokens of each document


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("run") / "tokens"
    groups: dict[str, Any] = {}
    draw = np.random.default_rng(0)
    for group, held_out in HELD_OUT.items():
        groups[group] = {}
        for split, lengths in (("train", [200, 100]), ("heldout", held_out)):
            (folder / split).mkdir(parents=True, exist_ok=True)
            shards = []
            if lengths:
                name = f"{split}/{group.replace('/', '--')}-00000.tokens"
                documents = [draw.integers(3, VOCABULARY, length).astype("<u2") for length in lengths]
                write_shard(folder / name, documents, lengths, [f"{number:016x}" for number in range(len(lengths))])
                shards.append(describe_shard(folder, name, token_type(VOCABULARY)))
            groups[group][split] = {"shards": shards, "tokens": sum(lengths)}
    write_json(folder / INDEX, {"vocabulary": VOCABULARY, "end_of_document": 2, "groups": groups})
    return Artifact(folder, {})


def run(folder: Path, tokens: Artifact, machine: Machine | None = None, **changes: Any) -> Path:
    draft = begin_artifact(folder / "pretrain", Origin("pretrain", {}, {}))
    with Ledger(folder / "ledger.jsonl") as ledger:
        workplace = Workplace(machine or Machine(threads=1, device="cpu", restarts=0), ledger)
        settings = SETTINGS.model_copy(update=changes)
        facts = pretrain(draft, {"tokens": tokens}, workplace, seed=0, model=MODEL, pretrain=settings)
        return draft.finish(facts).path


def looks(folder: Path) -> dict[int, dict[str, float]]:
    lines = read_ledger(folder / "ledger.jsonl")
    return {line["step"]: line["losses"] for line in lines if line["kind"] == "validation"}


def test_looking_at_held_out_tokens_leaves_no_trace_in_the_weights(tmp_path: Path, tokens: Artifact) -> None:
    looked, blind = run(tmp_path / "looked", tokens), run(tmp_path / "blind", tokens, validate_every_steps=None)
    assert digest_file(looked / "model.safetensors") == digest_file(blind / "model.safetensors")
    found = looks(tmp_path / "looked")
    assert list(found) == [3, 6, 7] and looks(tmp_path / "blind") == {}
    assert all(list(losses) == ["code/code", "en/books"] for losses in found.values())
    assert found[3] != found[6]


@pytest.mark.parametrize("size", [None, 3])
def test_the_losses_are_those_of_the_held_out_tokens_however_they_are_batched(
    tmp_path: Path, tokens: Artifact, size: int | None
) -> None:
    model = load_model(run(tmp_path, tokens, micro_batch_sequences=size))
    last = looks(tmp_path)[7]
    for group, tokens_NT in heldout_windows(tokens.path, 16, 80).items():
        whole = torch.from_numpy(tokens_NT)
        targets = whole[:, 1:].where(whole[:, 1:] >= 0, IGNORED)
        with torch.no_grad():
            assert model.loss(whole[:, :-1].clamp(min=0), targets).item() == pytest.approx(last[group], rel=1e-5)


def test_windows_are_whole_and_different_and_no_more_than_asked_for(tokens: Artifact) -> None:
    found = heldout_windows(tokens.path, 16, 80)
    assert {group: each.shape for group, each in found.items()} == {"code/code": (1, 17), "en/books": (5, 17)}
    assert (found["code/code"] < 0).sum() == 8, "the only document is shorter than a window"
    stream = np.fromfile(tokens.path / "heldout" / "en--books-00000.tokens", dtype="<u2")
    places = [next(at for at in range(0, 320, 16) if (stream[at : at + 17] == row).all()) for row in found["en/books"]]
    assert len(set(places)) == 5 and places != sorted(places)
    assert heldout_windows(tokens.path, 16, 10**9)["en/books"].shape == (20, 17)


def test_what_holds_nothing_out_and_what_cannot_look_is_refused(tmp_path: Path, tokens: Artifact) -> None:
    pipeline = Machine(threads=1, device="cpu", restarts=0, processes=2, parallel=Parallel(pipeline=2))
    with pytest.raises(FromScratchError, match="has no pass without gradients"):
        model = MODEL.model_copy(update={"layers": 2})
        with Ledger(tmp_path / "ledger.jsonl") as ledger:
            draft = begin_artifact(tmp_path / "pretrain", Origin("pretrain", {}, {}))
            place = Workplace(pipeline, ledger)
            pretrain(draft, {"tokens": tokens}, place, seed=0, model=model, pretrain=SETTINGS)
    empty = tmp_path / "tokens"
    empty.mkdir()
    for each in ("train", "heldout"):
        (empty / each).symlink_to(tokens.path / each)
    index = (tokens.path / INDEX).read_text()
    nothing = {"shards": [], "tokens": 0}
    stripped = json.loads(index)
    for each in stripped["groups"].values():
        each["heldout"] = nothing
    write_json(empty / INDEX, stripped)
    with pytest.raises(FromScratchError, match="holds nothing out") as refused:
        run(tmp_path / "run", Artifact(empty, {}))
    assert "corpus.heldout.share" in refused.value.hint
