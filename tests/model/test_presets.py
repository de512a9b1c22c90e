"""Presets: parameters to the unit where weights are public, within 1 % of the paper's figure elsewhere."""

import json
from pathlib import Path

import pytest
import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.inspect_model import inspect_subject
from fromscratch.model.arithmetic import parameters
from fromscratch.model.decoder import Decoder
from fromscratch.model.presets import PRESETS, preset
from tests.conftest import Golden


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_that_were_published(name: str) -> None:
    known = PRESETS[name]
    counted = parameters(known.settings, known.vocabulary).total
    if known.exact:
        assert counted == known.published_parameters
    else:
        assert counted == pytest.approx(known.published_parameters, rel=0.01)


@pytest.mark.parametrize("name", ["gpt2", "gopher-280b", "qwen2-0.5b", "yi-34b"])
def test_what_is_counted_is_what_would_be_built(name: str) -> None:
    known = PRESETS[name]
    with torch.device("meta"):
        built = sum(each.numel() for each in Decoder(known.settings, known.vocabulary).parameters())
    assert built == parameters(known.settings, known.vocabulary).total


def test_a_misspelt_preset_is_refused_with_the_nearest() -> None:
    assert preset("Yi-6B") is PRESETS["yi-6b"]
    with pytest.raises(FromScratchError) as refused:
        preset("yi-6")
    assert "yi-6b" in refused.value.hint


@pytest.mark.parametrize("name", ["yi-34b", "gopher-280b", "llama3.1-8b", "mistral-7b", "qwen2-0.5b"])
def test_the_card_of_a_preset_is_the_golden_one(name: str, golden: Golden) -> None:
    golden.check(f"model/card_{name}.txt", inspect_subject(name) + "\n")


def test_the_card_is_one_json_object_too() -> None:
    card = json.loads(inspect_subject("yi-6b", as_json=True))
    assert card["parameters"]["total"] == 6_061_035_520
    assert card["key_value_cache_bytes_per_token"] == 2 * 2 * 32 * 4 * 128
    assert len(inspect_subject("all").splitlines()) == len(PRESETS)


def test_a_recipe_has_a_card_with_its_overrides() -> None:
    recipe = Path(__file__).parent.parent / "recipes" / "tiny.toml"
    assert "ReLU" in inspect_subject(str(recipe), ['model.activation="relu"'])
