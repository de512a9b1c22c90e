"""The tuning stage: a base model and dialogues become a chat model, with the facts about each source."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from fromscratch.chat.neftune import noisy_embeddings
from fromscratch.core.artifact import open_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import load_model
from tests.chat.tiny_run import make_inputs, tune_run


def facts_of(run: Path) -> dict[str, object]:
    artifact = open_artifact(run / "tune")
    assert artifact is not None
    return dict(artifact.facts)


def test_the_tuned_model_answers_what_it_was_taught_in_the_language_of_the_question(tuned_run: Path) -> None:
    samples = json.loads((tuned_run / "tune" / "samples.json").read_text(encoding="utf-8"))
    assert samples == [
        {"prompt": "Hello!", "answer": "Thank you.", "ended": True, "language": "en"},
        {"prompt": "鲸是什么？", "answer": "鲸是哺乳动物。", "ended": True, "language": "zh"},
    ]


def test_the_artifact_holds_the_model_and_its_samples_and_nothing_of_the_work(tuned_run: Path) -> None:
    artifact = open_artifact(tuned_run / "tune")
    assert artifact is not None
    assert sorted(artifact.manifest["files"]) == ["model.json", "model.safetensors", "samples.json"]
    base, tuned = load_model(tuned_run / "pretrain"), load_model(tuned_run / "tune")
    assert base.settings == tuned.settings
    assert not torch.equal(base.embedding.weight, tuned.embedding.weight)


def test_the_facts_tell_what_each_source_gave_and_lost(tuned_run: Path) -> None:
    facts = facts_of(tuned_run)
    dialogues = facts["dialogues"]
    assert isinstance(dialogues, dict)
    assert dialogues["english"]["conversations"] == 2 and dialogues["english"]["damaged"] == 1
    assert dialogues["english"]["damages"] == [
        "talks-1.0-py3-none-any.whl!english/all.yml: conversation 3: no list of texts"
    ]
    assert dialogues["pages"]["conversations"] == 1, "the held-out page is not told"
    assert abs(dialogues["english"]["share"] - 0.4) < 0.01
    assert abs(dialogues["pages"]["passes"] - 150 * 4 * 0.2) < 4
    assert facts["steps"] == 150 and isinstance(facts["final_loss"], float) and facts["final_loss"] < 0.1


def test_tuning_again_gives_the_same_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    digests = []
    for name in ("one", "two"):
        run = tmp_path / name
        artifact = tune_run(run, make_inputs(run, tokenizer), steps=4, neftune_alpha=5.0)
        digests.append({file: each["sha256"] for file, each in artifact.manifest["files"].items()})
    assert digests[0] == digests[1]
    plain = tmp_path / "plain"
    without = tune_run(plain, make_inputs(plain, tokenizer), steps=4).manifest["files"]
    assert without["model.safetensors"]["sha256"] != digests[0]["model.safetensors"], "the noise does something"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_tokens": 97}, "`tune.sequence_tokens` = 97 is above `model.context_tokens` = 96"),
        ({"sequence_tokens": 9}, "`tune.dialogues.english`: no answer ends within `tune.sequence_tokens` = 9"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(
    changes: dict[str, object], message: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    inputs = make_inputs(tmp_path, tokenizer)
    with pytest.raises(FromScratchError) as refused:
        tune_run(tmp_path, inputs, **changes)
    assert refused.value.message.startswith(message)


def test_noise_is_added_in_training_alone_and_depends_on_seed_and_tokens(tuned_run: Path) -> None:
    decoder: Decoder = load_model(tuned_run / "tune").train()
    tokens_BT = torch.arange(40).view(2, 20)
    plain_BTD = decoder.embedding(tokens_BT)
    with noisy_embeddings(decoder, 5.0, seed=1):
        noisy_BTD = decoder.embedding(tokens_BT)
        assert torch.equal(noisy_BTD, decoder.embedding(tokens_BT))
        assert not torch.equal(noisy_BTD[:1], decoder.embedding(tokens_BT[:1])), "other tokens, other noise"
        decoder.eval()
        assert torch.equal(decoder.embedding(tokens_BT), plain_BTD)
        decoder.train()
    bound = 5.0 / (20 * 32) ** 0.5
    noise_BTD = (noisy_BTD - plain_BTD).detach()
    assert 0.98 * bound < noise_BTD.abs().max() <= bound * 1.00001
    assert abs(float(noise_BTD.mean())) < 0.1 * bound
    with noisy_embeddings(decoder, 5.0, seed=2):
        assert not torch.equal(noisy_BTD, decoder.embedding(tokens_BT))
    with noisy_embeddings(decoder, None, seed=1):
        assert torch.equal(decoder.embedding(tokens_BT), plain_BTD)
    assert torch.equal(decoder.embedding(tokens_BT), plain_BTD), "nothing stays behind"
