"""Presets: parameters to the unit where weights are public, within 1 % of the paper's figure elsewhere."""

import pytest
import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.model.arithmetic import parameters
from fromscratch.model.decoder import Decoder
from fromscratch.model.presets import PRESETS, preset


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
