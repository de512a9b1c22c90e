"""Stages of a run: what changes and when, resumed anywhere to the bit, and what cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.core.ledger import Ledger, read_ledger
from fromscratch.core.settings import validate_settings
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.model.files import load_model
from fromscratch.model.settings import AlibiPositions, DecoderSettings, RotaryPositions
from fromscratch.train import pretrain as stage
from fromscratch.train.settings import PretrainSettings
from fromscratch.train.stages import stretches
from tests.tokens.conftest import make_shards

torch.set_num_threads(1)

MODEL = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=30)
RUN: dict[str, Any] = {
    "steps": 20,
    "batch_sequences": 4,
    "sequence_tokens": 10,
    "precision": "fp32",
    "checkpoint_every_steps": 100,
    "schedule": {"kind": "linear", "warmup_steps": 2},
    "stages": [
        {"share": 0.3, "mixture": {"zh": 1.0}, "micro_batch_sequences": 2},
        {"steps": 5, "batch_sequences": 2, "sequence_tokens": 30, "rotary_base": 5e4, "peak_share": 0.1,
         "schedule": {"kind": "cosine", "warmup_steps": 1, "final_share": 0.5}},
    ],
}  # fmt: skip


def settings(**changes: Any) -> PretrainSettings:
    return validate_settings(PretrainSettings, {**RUN, **changes}, "recipe.toml")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    groups = {"en/books": [[999]], "zh/books": [[300, 60]]}
    return Artifact(make_shards(tmp_path_factory.mktemp("run") / "tokens", groups, vocabulary=20_000), {})


def train(folder: Path, tokens: Artifact, wanted: PretrainSettings, model: DecoderSettings = MODEL) -> Path:
    draft = begin_artifact(folder / "pretrain", Origin("pretrain", {}, {}))
    with Ledger(folder / "ledger.jsonl") as ledger:
        workplace = Workplace(Machine(threads=1, device="cpu", restarts=0), ledger)
        facts = stage.pretrain(draft, {"tokens": tokens}, workplace, seed=0, model=model, pretrain=wanted)
        return draft.finish(facts).path


def test_each_stage_changes_what_it_names_and_the_rest_goes_on() -> None:
    first, second, third = stretches(settings())
    assert [(each.first, each.end) for each in (first, second, third)] == [(0, 9), (9, 15), (15, 20)]
    forms = [(each.batches, each.sequences, each.sequence_tokens) for each in settings().batch_forms]
    assert forms == [(9, 4, 10), (6, 4, 10), (5, 2, 30)]
    assert [each.settings.micro_batch_sequences for each in (first, second, third)] == [None, 2, 2]
    assert third.settings.mixture == {"zh": 1.0}
    whole = stretches(settings(stages=[]))[0]
    assert [second.learning_rate_share(step) for step in range(9, 15)] == [
        whole.learning_rate_share(step) for step in range(9, 15)
    ]
    assert third.learning_rate_share(15) == pytest.approx(0.1)
    assert 0.05 < third.learning_rate_share(19) < third.learning_rate_share(17) < 0.1


def test_a_run_says_in_which_stage_it_is_and_leaves_the_model_of_the_last(tmp_path: Path, tokens: Artifact) -> None:
    made = train(tmp_path, tokens, settings())
    assert load_model(made).settings.positions == RotaryPositions(base=5e4)
    steps = [line for line in read_ledger(tmp_path / "ledger.jsonl") if line["kind"] == "step"]
    assert [line["position"]["stage"] for line in steps] == [0] * 9 + [1] * 6 + [2] * 5
    assert [line["tokens"] for line in steps][8::6] == [9 * 40, 15 * 40] and steps[-1]["tokens"] == 15 * 40 + 5 * 60
    facts = json.loads((made / "manifest.json").read_text())["facts"]
    assert facts["mixture"]["zh/books"] == pytest.approx((360 * 35 / 134 + 240 + 300) / 900, rel=1e-3)


WARMS_UP = {"kind": "constant", "warmup_steps": 5}


class Died(Exception):
    pass


@pytest.mark.parametrize("batch", [9, 12, 15, 17, 20])
def test_resuming_in_any_stage_ends_with_the_same_weights(
    tmp_path: Path, tokens: Artifact, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    straight = train(tmp_path / "straight", tokens, settings())
    reading, writing = stage.RunPlan.batch, "fromscratch.train.run.save_model"

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(stage.RunPlan, "batch", lambda plan, number: reading(plan, number) if number < batch else die())
        patch.setattr(writing, die)
        train(tmp_path / "stopped", tokens, settings(checkpoint_every_steps=3))
    resumed = train(tmp_path / "stopped", tokens, settings(checkpoint_every_steps=3))
    assert digest_file(resumed / "model.safetensors") == digest_file(straight / "model.safetensors")
    assert digest_file(resumed / "model.json") == digest_file(straight / "model.json")


@pytest.mark.parametrize(
    ("stages", "message", "hint"),
    [
        ([{}], "`stages.0.steps` or `stages.0.share`", "give one"),
        ([{"steps": 3, "share": 0.1}], "one of the two", "leave out"),
        ([{"steps": 12}, {"share": 0.4}], "`stages` have 20 steps of `steps` = 20", "at most 19, or raise"),
        ([{"steps": 4, "schedule": WARMS_UP}], "`stages.0.schedule.warmup_steps` = 5", "at most 4"),
    ],
)
def test_stages_that_cannot_be_are_refused_with_the_number_to_change(
    stages: list[dict[str, Any]], message: str, hint: str
) -> None:
    with pytest.raises(FromScratchError) as refused:
        settings(stages=stages)
    assert message in refused.value.message and hint in refused.value.hint


def test_stages_that_the_model_cannot_take_are_refused(tmp_path: Path, tokens: Artifact) -> None:
    with pytest.raises(FromScratchError, match=r"`pretrain.stages.0.sequence_tokens` = 31 is longer"):
        train(tmp_path, tokens, settings(stages=[{"steps": 2, "sequence_tokens": 31}]))
    alibi = MODEL.model_copy(update={"positions": AlibiPositions()})
    with pytest.raises(FromScratchError, match=r"`pretrain.stages.1.rotary_base`: the model has positions of the kind"):
        train(tmp_path, tokens, settings(), alibi)
