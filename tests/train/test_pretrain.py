"""The pretraining stage on token shards: its artifact, its facts, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import write_json
from fromscratch.core.ledger import Ledger, read_ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import load_model
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.settings import AdamW, Constant
from fromscratch.tokens.shards import INDEX, describe_shard, token_type, write_shard
from fromscratch.train.pretrain import pretrain
from fromscratch.train.settings import PretrainSettings

torch.set_num_threads(1)

VOCABULARY = 50
MODEL = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=16)
SETTINGS = PretrainSettings(
    steps=30,
    batch_sequences=4,
    sequence_tokens=16,
    optimizer=AdamW(peak_learning_rate=2e-2),
    schedule=Constant(),
    precision="fp32",
    mixture={"en": 3, "code/code": 1},
)


@pytest.fixture
def tokens(tmp_path: Path) -> Artifact:
    """Shards in which code counts down and English counts up, so that both can be learnt."""
    folder = tmp_path / "tokens"
    (folder / "train").mkdir(parents=True)
    groups: dict[str, Any] = {}
    for group, stride in (("en/books", 1), ("code/code", -1)):
        documents = [((start + stride * np.arange(60)) % VOCABULARY).astype("<u2") for start in range(40)]
        name = f"train/{group.replace('/', '--')}-00000.tokens"
        write_shard(folder / name, documents, [60] * 40, [f"{number:016x}" for number in range(40)])
        shard = describe_shard(folder, name, token_type(VOCABULARY))
        totals = {key: shard[key] for key in ("tokens", "documents", "bytes")}
        nothing = {"shards": [], "tokens": 0, "documents": 0, "bytes": 0}
        groups[group] = {"train": {"shards": [shard], **totals}, "heldout": nothing}
    write_json(folder / INDEX, {"vocabulary": VOCABULARY, "end_of_document": 2, "groups": groups})
    return Artifact(folder, {})


def run(folder: Path, tokens: Artifact, settings: PretrainSettings = SETTINGS, seed: int = 0) -> Artifact:
    draft = begin_artifact(folder / "pretrain", Origin("pretrain", {}, {}))
    with Ledger(folder / "ledger.jsonl") as ledger:
        workplace = Workplace(Machine(threads=1, device="cpu", restarts=0), ledger)
        facts = pretrain(draft, {"tokens": tokens}, workplace, seed=seed, model=MODEL, pretrain=settings)
        return draft.finish(facts)


def test_the_stage_ends_with_a_model_that_learnt_from_the_shards(tmp_path: Path, tokens: Artifact) -> None:
    made = run(tmp_path, tokens)
    assert set(made.manifest["files"]) == {"model.json", "model.safetensors"}
    counting = torch.arange(10, 26).unsqueeze(0)
    with torch.no_grad():
        assert load_model(made.path).loss(counting[:, :-1], counting[:, 1:]).item() < 2.5  # of 3.9 at the start
    assert made.facts["tokens"] == 30 * 4 * 16
    assert made.facts["mixture"] == {"code/code": 0.25, "en/books": 0.75}
    assert made.facts["parameters"] == sum(each.numel() for each in load_model(made.path).parameters())


def test_equal_seeds_give_equal_digests_and_others_do_not(tmp_path: Path, tokens: Artifact) -> None:
    short = SETTINGS.model_copy(update={"steps": 3})
    digests = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        digests.append(run(tmp_path / str(number), tokens, short, seed).digest)
    assert digests[0] == digests[1] != digests[2]


def test_the_ledger_places_each_checkpoint_in_the_data(tmp_path: Path, tokens: Artifact) -> None:
    run(tmp_path, tokens, SETTINGS.model_copy(update={"steps": 10, "checkpoint_every_steps": 4}))
    saved = [line for line in read_ledger(tmp_path / "ledger.jsonl") if line["kind"] == "checkpoint"]
    assert [line["position"]["batch"] for line in saved] == [4, 8]
    assert [sum(line["position"]["sequences"].values()) for line in saved] == [16, 32]


def test_sequences_longer_than_the_context_are_refused(tmp_path: Path, tokens: Artifact) -> None:
    with pytest.raises(FromScratchError) as refused:
        run(tmp_path, tokens, SETTINGS.model_copy(update={"sequence_tokens": 17}))
    assert refused.value.message == "`pretrain.sequence_tokens` = 17 is longer than `model.context_tokens` = 16"


def test_attention_within_documents_is_a_setting(tmp_path: Path, tokens: Artifact) -> None:
    across = run(tmp_path / "across", tokens)
    within = run(tmp_path / "within", tokens, SETTINGS.model_copy(update={"attend": "document"}))
    weights = [load_model(each.path).embedding.weight for each in (across, within)]
    assert not torch.equal(*weights)


def test_numbers_that_are_none_name_the_documents_of_the_batch(
    tmp_path: Path, tokens: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def poisoned(model: Decoder, *batch: torch.Tensor, **options: float) -> torch.Tensor:
        calls.append(len(calls))
        return plain(model, *batch, **options) * (float("nan") if len(calls) == 3 else 1.0)

    plain = Decoder.loss
    monkeypatch.setattr(Decoder, "loss", poisoned)
    with pytest.raises(FromScratchError, match="step 3, batch 2: the loss is nan; it holds tokens") as refused:
        run(tmp_path, tokens)
    (line,) = [each for each in read_ledger(tmp_path / "ledger.jsonl") if each["kind"] == "non_finite"]
    assert line["batch"] == 2 and [each["group"] for each in line["sources"]].count("code/code") in (0, 1, 2)
    first = line["sources"][0]
    assert f"tokens {first['first']:,} to {first['end'] - 1:,} of {first['group']}" in refused.value.message
    assert first["documents"][0] in refused.value.message and "2 more sequences" in refused.value.message


def test_what_one_machine_cannot_do_is_refused(tmp_path: Path, tokens: Artifact) -> None:
    with pytest.raises(FromScratchError, match="needs a GPU"):
        run(tmp_path, tokens, SETTINGS.model_copy(update={"precision": "fp8"}))
